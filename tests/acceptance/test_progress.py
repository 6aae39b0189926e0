"""Progress as others see it while tasks run."""

from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from tests.acceptance import tasks
from tests.acceptance.harness import Worker, until
from tests.acceptance.trees import errors, find_leaf, phases, settled, step
from user_workflows.canvas import chain, group, workflow
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import tree_as_text

WAYS = {
    "steps": lambda root: root.tree().completed_steps == 3,
    "track": lambda root: root.tree().completed_steps == 3,
    "state": lambda root: find_leaf(root, "inside state").state == "Kneading",
    "name": lambda root: True,
    "fail": lambda root: True,
    "succeed": lambda root: True,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_task_in_a_transaction_of_its_own_holds_no_lock_on_the_tree(
    worker: Worker, user: Any, way: str
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("the locks of PostgreSQL")
    tag = f"inside {way}"
    canvas = chain(step(tasks.work, "a"), step(tasks.in_transaction, tag, way=way))
    root = workflow(canvas, user=user).delay()
    worker.wait_for("inside", tag)
    try:
        until(lambda: WAYS[way](root), f"to see the {way} from outside\n{tree_as_text(root)}")
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '20s'")
            UserTaskStatus.objects.filter(tree_id=root.pk).update(modified=F("modified"))
        assert not worker.events("committed", tag)
    finally:
        worker.let_go(tag)
    root = settled(root)

    assert root.phase == (Phase.FAILED if way == "fail" else Phase.SUCCEEDED), tree_as_text(root)
    if way == "fail":
        assert errors(root) == ["There is no yeast."]
    else:
        assert (root.completed_steps, root.total_steps) == (6, 6)


@pytest.mark.parametrize("worker", ["prefork", "threads", "solo"], indirect=True)
def test_a_tracked_loop_counts_exactly_in_few_writes(worker: Worker, user: Any) -> None:
    loop = step(tasks.tracked_loop, "loop", steps=2000, pause=0.001, watched=True)
    root = settled(workflow(chain(loop, step(tasks.work, "b")), user=user).delay())
    task_id = find_leaf(root, "loop").task_id
    events = [event for event in worker.events("statement") if event.task_id == task_id]
    statements = [event.more["sql"] for event in events]
    written = [sql for sql in statements if sql.startswith("UPDATE")]
    took = events[-1].at - events[0].at  # Writes are every half second, however slow all is.

    assert phases(root) == {"loop": Phase.SUCCEEDED, "b": Phase.SUCCEEDED}
    assert (root.completed_steps, root.total_steps) == (2001, 2001)
    assert 2 <= len(written) <= 10 + 6 * took, written
    assert len(statements) <= 30 + 18 * took


@pytest.mark.parametrize("worker", ["prefork", "threads"], indirect=True)
def test_progress_of_a_loop_without_calls_is_written_meanwhile(worker: Worker, user: Any) -> None:
    tags = [f"seen {name}, {worker.kind}" for name in ("a", "b")]
    loops = [step(tasks.tracked_loop, tag, steps=15, stops_at=5) for tag in tags]
    root = workflow(group(loops), user=user).delay()

    def stored() -> tuple[int, int]:
        row = UserTaskStatus.objects.get(pk=root.pk)
        return row.completed_steps, row.total_steps

    until(lambda: stored() == (10, 30), "the stored sum of the root to move")
    assert root.tree().completed_steps == 10
    for tag in tags:
        worker.let_go(tag)
    assert settled(root).completed_steps == 30


@pytest.mark.parametrize("worker", ["prefork", "threads", "solo"], indirect=True)
def test_the_steps_of_a_loop_that_raised_are_counted(worker: Worker, user: Any) -> None:
    loop = step(tasks.fails_in_loop, "burnt", steps=10, at=5)
    root = settled(workflow(chain(loop, step(tasks.work, "b")), user=user).delay())

    assert phases(root) == {"burnt": Phase.FAILED, "b": Phase.SKIPPED}
    assert find_leaf(root, "burnt").completed_steps == 5
    assert (root.completed_steps, root.total_steps) == (5, 11)
