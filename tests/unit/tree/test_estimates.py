"""The time left is told only where there is something to tell it by."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from tests.pages.scenes import begin, end, many, pages_of
from user_workflows.phases import Phase
from user_workflows.tree.estimates import eta

AT = now()


def left(phase: Phase = Phase.RUNNING, ago: float | None = 60, **counts: int) -> Any:
    started = None if ago is None else AT - timedelta(seconds=ago)
    return eta(phase, started, AT, **{"settled": 2, "steps": 20, "total": 80, **counts})


def test_the_rest_goes_on_as_what_is_behind() -> None:
    assert left() == timedelta(seconds=180)
    assert left(steps=80) == timedelta(0)


@pytest.mark.parametrize(
    "unknown",
    [
        {"ago": 14.9}, {"ago": None}, {"ago": -60}, {"settled": 0}, {"steps": 0}, {"total": 0},
        *({"phase": phase} for phase in Phase if phase is not Phase.RUNNING),
    ],
)  # fmt: skip
def test_without_evidence_nothing_is_said(unknown: dict[str, Any]) -> None:
    assert left(**unknown) is None


def test_of_a_workflow(user: Any) -> None:
    root = many(8, user)
    begin(root, "Prepare", ago=40)
    end(root, "Prepare")
    begin(root, "Mail 0", "Mail 1")
    end(root, "Mail 0", "Mail 1")
    root = pages_of(root)
    assert root.started_at is not None
    at = root.started_at + timedelta(seconds=30)
    assert root.eta(at) == timedelta(seconds=30) * 7 / 3
    assert root.eta(root.started_at + timedelta(seconds=10)) is None
