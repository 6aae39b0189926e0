"""The clients of the how-to follow a workflow to its end."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from rest_framework.throttling import UserRateThrottle

from tests.helpers import a_user
from tests.rest.conftest import export, part, url
from tests.rest.test_answers import end, past
from user_workflows.views import StatusViewSet

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


def code_in(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    return str(code)


def client_in_python() -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(code_in("python"), str(HOW_TO), "exec"), space)
    return space


def test_the_python_client_of_the_how_to_follows_a_workflow_to_its_end(
    people: Any, root: Any, client_of: Any, monkeypatch: Any
) -> None:
    space = client_in_python()
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


def test_the_python_client_waits_as_long_as_retry_after_says(
    people: Any, root: Any, client_of: Any, monkeypatch: Any
) -> None:
    class Rarely(UserRateThrottle):
        rate = "1/minute"

    cache.clear()
    monkeypatch.setattr(StatusViewSet, "throttle_classes", [Rarely])
    space, waits = client_in_python(), []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if seconds > 1:
            cache.clear()
            root.cancel()

    monkeypatch.setattr(space["time"], "sleep", sleep)
    session = Session(client_of(people.owner))
    space["follow"](session, url(root), lambda node: None)
    assert session.codes == [200, 429, 200]
    assert 50 < waits[1] <= 60
    cache.clear()


JAVASCRIPT = """
const site = globalThis.fetch, codes = [];
globalThis.fetch = async (url, options) => {
  const headers = {...options.headers, Cookie: process.argv[3]};
  const answer = await site(url, {...options, headers});
  codes.push(answer.status);
  return answer;
};
follow(process.argv[2], (node) => console.log(node.name, node.phase), 20)
  .then(() => console.log("codes", codes.join(" ")));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
@pytest.mark.django_db(transaction=True)
def test_the_javascript_client_of_the_how_to_follows_a_workflow_to_its_end(
    live_server: Any, tmp_path: Path
) -> None:
    user = a_user("owner")
    root = export(user)
    past(root)
    browser = Client()
    browser.force_login(user)
    script = tmp_path / "client.js"
    script.write_text(code_in("js") + JAVASCRIPT)
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    command = ["node", str(script), live_server.url + url(root), cookie]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        lines = iter(node.stdout.readline, "")
        try:
            assert next(lines) == "Secret export PENDING\n"
            end(root, "read")
            assert "read SUCCEEDED\n" in lines
            root.cancel()
            rest = list(lines)
            assert node.wait(timeout=30) == 0
        finally:
            node.kill()
    assert "notify CANCELED\n" in rest
    assert rest[-1].startswith("codes 200 ") and rest[-1].endswith(" 200\n")
