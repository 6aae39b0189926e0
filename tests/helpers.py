"""Helpers that several parts of the test suite share; see also ``user_workflows.testing``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import current_app
from celery.app.trace import trace_task
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from user_workflows import user_task_stopped, workflow_finished
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.planning.plan import PlanNode
from user_workflows.queues.celery.context import HEADER, WHOLE
from user_workflows.testing import store_tree

_FRAME = ("SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "COMMIT", "SET SESSION")


def a_user(name: str = "learner") -> Any:
    """Return the user of this name; create it if there is none."""
    return get_user_model().objects.get_or_create(username=name)[0]


def assert_tree_is_sound(tree_id: int) -> None:
    """Check the bounds of a tree against its ``parent`` columns, apart from ``find_faults()``.

    Reading the bounds in ascending order as opening and closing brackets has to give back each
    node's parent and level, with no bracket left over or used twice.
    """
    rows = UserTaskStatus.objects.filter(tree_id=tree_id).order_by()
    nodes = {n.pk: n for n in rows}
    root = nodes.get(tree_id)
    assert root is not None, f"tree {tree_id}: no node has this key"
    assert root.parent_id is None, f"tree {tree_id}: its root has a parent"
    brackets = [(n.lft, 1, n.pk) for n in nodes.values()]
    brackets += [(n.rght, -1, n.pk) for n in nodes.values()]
    positions = [position for position, _, _ in brackets]
    assert len(set(positions)) == len(positions), "a bound is taken twice"
    assert min(positions) > 0, "a bound is not positive"
    path: list[int] = []
    for position, opens, pk in sorted(brackets):
        if opens > 0:
            node = nodes[pk]
            assert node.parent_id == (path[-1] if path else None), f"node {pk} at {position}"
            assert node.level == len(path), f"node {pk}: level {node.level}, not {len(path)}"
            assert path or pk == tree_id, f"node {pk} lies outside of the root"
            path.append(pk)
        else:
            assert path, f"node {pk} ends at {position} without having begun"
            assert path.pop() == pk, f"node {pk} ends at {position}, within another"
    assert not path
    outside = UserTaskStatus.objects.filter(parent_id__in=nodes).exclude(tree_id=tree_id)
    assert not outside.exists(), "a child is in another tree than its parent"


@contextmanager
def queries(count: int | None = None) -> Iterator[list[str]]:
    """Collect the SQL that is run, without transactions; fail if it is not ``count`` queries."""
    collected: list[str] = []
    with CaptureQueriesContext(connection) as context:
        yield collected
    collected += [q["sql"] for q in context.captured_queries if not q["sql"].startswith(_FRAME)]
    if count is not None:
        assert len(collected) == count, "\n".join([f"{len(collected)} queries:", *collected])


@contextmanager
def signals() -> Iterator[dict[str, list[Any]]]:
    """Collect what signals are sent: ``stopped`` node keys in order, ``finished`` with verdicts."""
    heard: dict[str, list[Any]] = {"stopped": [], "finished": []}

    def stopped(sender: Any, status: UserTaskStatus, **kwargs: Any) -> None:
        heard["stopped"].append(status.pk)

    def finished(sender: Any, status: UserTaskStatus, verdict: Phase, **kwargs: Any) -> None:
        heard["finished"].append((status.pk, verdict))

    user_task_stopped.connect(stopped)
    workflow_finished.connect(finished)
    try:
        yield heard
    finally:
        user_task_stopped.disconnect(stopped)
        workflow_finished.disconnect(finished)


# -- trees without Celery -------------------------------------------------------------------------


def stored(plan: PlanNode) -> dict[str, UserTaskStatus]:
    """Store a plan; return all its nodes by name."""
    root = store_tree(plan, user=a_user())
    return {n.name: n for n in UserTaskStatus.objects.filter(tree_id=root.tree_id)}


def phases(tree_id: int) -> dict[str, str]:
    """Return the phase of each node of a tree, by name."""
    found = UserTaskStatus.objects.filter(tree_id=tree_id).values_list("name", "phase")
    return {name: str(phase) for name, phase in found}


# -- single messages ------------------------------------------------------------------------------


def work(root: UserTaskStatus, name: str, **request: Any) -> Any:
    """Have Celery's tracer run a task of a tree by its message, as a worker does.

    Unlike ``manual_worker()``, again and again, and with any change of the ``request``.
    """
    row = UserTaskStatus.objects.get(tree_id=root.tree_id, name=name)
    return deliver(row.task_class, row.task_id, name, root, **request)


def deliver(task_class: str, task_id: str, tag: str, root: UserTaskStatus, **request: Any) -> Any:
    """Have Celery's tracer run a message, of a task that has a node or not."""
    headers = {HEADER: root.tree_id, WHOLE: True}
    context = {"id": task_id, "retries": 0, "is_eager": False, "delivery_info": {}, **headers}
    called = current_app.tasks[task_class]
    return trace_task(
        called,
        task_id,
        (),
        {"tag": tag},
        {**context, **request},
        app=current_app._get_current_object(),
    )
