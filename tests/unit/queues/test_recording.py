"""What is logged where the recording of a task fails."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tasks import plain
from user_workflows.lifecycle.execution import Execution
from user_workflows.queues.celery.recording import guarded, recorded


class Node:
    """A leaf that is stored nowhere."""

    pk, tree_id = 12, 7


def test_a_failed_event_is_logged_with_its_ids_and_a_remedy(caplog: Any) -> None:
    @recorded("the end")
    def end(run: Execution, task_id: str) -> None:
        raise ValueError("broken")

    assert end(Execution(Node(), 1, buffered=True), task_id="1f3c") is None
    [entry] = caplog.records
    assert entry.getMessage() == (
        "Could not record the end of a task[1f3c] (node 12, tree 7): ValueError('broken'). "
        "See that reap_workflows runs: it settles what is left open."
    )
    assert (entry.task_id, entry.node, entry.tree) == ("1f3c", 12, 7)
    assert entry.exc_info


def test_a_failed_block_is_logged_with_the_name_of_the_task(caplog: Any) -> None:
    with guarded("track", "It is sent.", task=plain, task_id="1f3c") as guard:
        raise ValueError("broken")
    assert guard.failed
    [entry] = caplog.records
    expected = f"Could not track {plain.name}[1f3c]: ValueError('broken'). It is sent."
    assert (entry.levelname, entry.getMessage()) == ("ERROR", expected)


def test_a_block_that_does_not_fail_logs_nothing(caplog: Any) -> None:
    with guarded("track", "It is sent.") as guard:
        pass
    assert not guard.failed
    assert caplog.records == []


def test_a_strict_block_raises(caplog: Any) -> None:
    with pytest.raises(ValueError, match="broken"), guarded("track", "It is sent.", strict=True):
        raise ValueError("broken")
    assert caplog.records == []


def test_what_is_no_error_is_not_caught() -> None:
    """As the exit of a worker."""
    with pytest.raises(SystemExit), guarded("track", "It is sent."):
        raise SystemExit
