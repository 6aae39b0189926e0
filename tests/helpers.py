"""What several parts of the test suite share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from celery import current_app
from celery.app.trace import trace_task
from celery.signals import after_task_publish
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from user_workflows import user_task_stopped, workflow_finished
from user_workflows.models import UserTaskStatus
from user_workflows.phases import NodeType, Phase
from user_workflows.planning.plan import PlanNode
from user_workflows.queues.celery import submission
from user_workflows.queues.celery.context import HEADER, WHOLE

_FRAME = ("SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "COMMIT", "SET SESSION")


def a_user(name: str = "learner") -> Any:
    """A saved user of this name."""
    return get_user_model().objects.get_or_create(username=name)[0]


def assert_tree_is_sound(tree_id: int) -> None:
    """The bounds of one tree say what its ``parent`` columns say; found apart from ``faults``.

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
    """Collects the SQL that is run, without its frame; says if it was not ``count`` queries."""
    collected: list[str] = []
    with CaptureQueriesContext(connection) as context:
        yield collected
    collected += [q["sql"] for q in context.captured_queries if not q["sql"].startswith(_FRAME)]
    if count is not None:
        assert len(collected) == count, "\n".join([f"{len(collected)} queries:", *collected])


@contextmanager
def signals() -> Iterator[dict[str, list[Any]]]:
    """Collects what is announced: ``stopped`` node keys in order, ``finished`` with verdicts."""
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


def leaf(name: str, **options: Any) -> PlanNode:
    """A planned task that is called ``name``, in its task id too."""
    options.setdefault("total_steps", 1)
    task_id = options.pop("task_id", name)
    return PlanNode(NodeType.TASK, task_id, name=name, task_class="t", **options)


def node(kind: str, *children: PlanNode, name: str = "", **options: Any) -> PlanNode:
    """A planned chain, group, chord or link; named after its kind and members unless told."""
    name = name or f"{kind}({','.join(child.name for child in children)})"
    return PlanNode(
        NodeType(kind),
        str(uuid4()),
        name=name,
        task_class=f"celery.{kind}",
        children=list(children),
        total_steps=sum(child.total_steps for child in children),
        **options,
    )


def stored(plan: PlanNode) -> dict[str, UserTaskStatus]:
    """Stores a plan made by ``leaf`` and ``node``; gives all its nodes by name."""
    root = submission.store_plan(plan, user_id=a_user().pk)
    return {n.name: n for n in UserTaskStatus.objects.filter(tree_id=root.tree_id)}


def phases(tree_id: int) -> dict[str, str]:
    """The phase of each node of a tree, by name."""
    found = UserTaskStatus.objects.filter(tree_id=tree_id).values_list("name", "phase")
    return {name: str(phase) for name, phase in found}


# -- workers without a worker ---------------------------------------------------------------------


class Broker:
    """The messages that are sent while it is listening, and a worker for them."""

    def __init__(self) -> None:
        self.messages: list[tuple[dict[str, Any], Any]] = []
        self.headers: list[dict[str, Any]] = []
        """Those of all messages so far."""

    def take(self, headers: Any = None, body: Any = None, **kwargs: Any) -> None:
        """A message has been sent."""
        self.messages.append(json.loads(json.dumps((headers, body), default=str)))
        self.headers.append(headers)

    def deliver(self) -> None:
        """All messages, one after the other, and those that come of them."""
        while self.messages:
            headers, (args, kwargs, embedded) = self.messages.pop(0)
            request = {**headers, **embedded, "args": args, "kwargs": kwargs, "is_eager": False}
            trace_task(
                current_app.tasks[headers["task"]],
                headers["id"],
                args,
                kwargs,
                {**request, "delivery_info": {}},
                app=current_app._get_current_object(),
            )


@contextmanager
def broker() -> Iterator[Broker]:
    """A broker with a worker that waits until it is told to work."""
    listening = Broker()
    after_task_publish.connect(listening.take)
    yield listening
    after_task_publish.disconnect(listening.take)
    current_app.control.purge()


def work(root: UserTaskStatus, name: str, **request: Any) -> Any:
    """A worker gets the message of a task, as it was sent: Celery's own tracer runs it."""
    row = UserTaskStatus.objects.get(tree_id=root.tree_id, name=name)
    return deliver(row.task_class, row.task_id, name, root, **request)


def deliver(task_class: str, task_id: str, tag: str, root: UserTaskStatus, **request: Any) -> Any:
    """A worker gets a message, be it of a task that has a node or not."""
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
