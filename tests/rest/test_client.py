"""The client of the how-to follows a workflow to its end."""

import re
from pathlib import Path
from typing import Any

from tests.rest.conftest import part, url
from tests.rest.test_answers import end, past

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "rest-client.md"


class Session:
    """What the client expects of requests or httpx."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.codes: list[int] = []

    def get(self, url: str, params: Any, headers: Any) -> Any:
        answer = self.client.get(url, params, headers=headers)
        answer.raise_for_status = lambda: None
        self.codes.append(answer.status_code)
        return answer


def test_the_client_of_the_how_to(people: Any, root: Any, client_of: Any, monkeypatch: Any) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    space: dict[str, Any] = {}
    exec(compile(code, str(HOW_TO), "exec"), space)
    past(root)
    events = iter(["read", "time goes by", None, "cancel"])

    def work(seconds: float) -> None:
        event = next(events)
        if event == "cancel":
            root.cancel()
        elif event == "read":
            end(root, event)
        elif event:
            past(root)

    monkeypatch.setattr(space["time"], "sleep", work)
    session = Session(client_of(people.owner))
    shown: list[tuple[str, str]] = []

    space["follow"](session, url(root), lambda node: shown.append((node["name"], node["phase"])))

    assert shown[:3] == [
        ("Secret export", "PENDING"),
        ("read", "PENDING"),
        ("chapters", "PENDING"),
    ]
    assert ("read", "SUCCEEDED") in shown and ("notify", "CANCELED") in shown
    assert shown[-1] == ("notify", "CANCELED")
    assert 304 in session.codes and session.codes[-1] == 200
    assert part(root, "notify").is_settled
