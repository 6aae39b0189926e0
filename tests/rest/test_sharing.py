"""The how-to on sharing, as it stands there: the staff of a course see its exports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rules

from tests.rest.conftest import export, part, url
from tests.rest.test_access import RULES
from tests.rest.test_answers import LIST

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "share-workflows.md"


@pytest.fixture
def shared(settings: Any, people: Any) -> Iterator[Any]:
    """``other`` is staff of CS101, as the code of the how-to knows by ``courses_of``."""
    code, _, permissions = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    names: dict[str, Any] = {
        "courses_of": lambda user: ["CS101"] if user == people.other else [],
    }
    exec(code, names)
    settings.USER_WORKFLOWS_STATUS_FILTERS = [names["CourseFilterBackend"]]
    settings.AUTHENTICATION_BACKENDS = RULES
    exec(permissions, names)
    yield SimpleNamespace(
        export=export(people.owner, subject="CS101"), hidden=export(people.owner, subject="CS102")
    )
    rules.permissions.permissions.clear()


def test_course_staff_see_shared_workflows_and_cannot_cancel_them(
    shared: Any, people: Any, client_of: Any
) -> None:
    part(shared.export, "read").add_artifact("Course", text="x")
    staff = client_of(people.other)
    assert [row["uuid"] for row in staff.get(LIST).json()] == [str(shared.export.uuid)]
    for what in ("detail", "tree", "artifacts", "archive", "failures", "graph"):
        assert staff.get(url(shared.export, what)).status_code == 200
        assert staff.get(url(shared.hidden, what)).status_code == 404
    assert staff.post(url(shared.export, "cancel")).status_code == 403
    assert staff.delete(url(shared.export)).status_code == 403
    assert staff.get("/api/artifacts/").json() == []  # It has a filter of its own.
    assert "owner" not in staff.get(url(shared.export)).content.decode()
    owner = client_of(people.owner)
    assert len(owner.get(LIST).json()) == 2
    assert owner.post(url(shared.export, "cancel")).status_code == 200
