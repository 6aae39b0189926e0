"""Help for a site's tests of its own workflows: see docs/how-to/test-your-workflows.md.

Run tasks one by one, and compare the tree:

    with manual_worker() as worker:
        status = print_book(ada, "Moby Dick")
        worker.run_one()
        assert_tree(status, {"Read": Phase.SUCCEEDED, "Render": {"Page 1": Phase.PENDING}})
        worker.run_all()

Or make a tree without Celery:

    root = store_tree(container("chain", leaf("Read"), leaf("Print", 3)), user=ada)
    find_node(root, "Read").succeed()
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from uuid import uuid4

from celery import current_app
from celery.app.trace import trace_task
from celery.signals import after_task_publish
from django.core.exceptions import ImproperlyConfigured
from django.test import TestCase
from kombu.serialization import dumps, loads

from .db.connections import status_connection
from .fields import ERROR_ARTIFACT
from .lifecycle import progress
from .models import UserTaskStatus
from .phases import NodeType, Phase
from .planning.plan import PlanNode
from .queues.celery.submission import store_plan
from .tree.nodes import TreeNode

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

# -- trees without Celery -------------------------------------------------------------------------


def leaf(
    name: str,
    total_steps: int = 1,
    *,
    task_id: str = "",
    task_class: str = "task",
    allow_failure: bool = False,
) -> PlanNode:
    """Return a planned task, for ``container()`` or ``store_tree()``."""
    return PlanNode(
        NodeType.TASK,
        task_id or str(uuid4()),
        name,
        task_class=task_class,
        total_steps=total_steps,
        allow_failure=allow_failure,
    )


def container(
    kind: NodeType | str, *children: PlanNode, name: str = "", allow_failure: bool = False
) -> PlanNode:
    """Return a planned container; without a name it is named after its kind and its children.

    Args:
        kind: "chain", "group", "chord", ...: see ``NodeType``.
        children: its members in order; of a chord, its header (a group) and its body.
        name: what the user reads.
        allow_failure: whether the workflow goes on when this container fails.
    """
    node_type = NodeType(kind)
    return PlanNode(
        node_type,
        str(uuid4()),
        name or f"{node_type}({','.join(child.name for child in children)})",
        task_class=f"celery.{node_type}",
        total_steps=sum(child.total_steps for child in children),
        allow_failure=allow_failure,
        children=list(children),
    )


def store_tree(
    plan: PlanNode, *, user: AbstractBaseUser, action: str = "", subject: str = ""
) -> UserTaskStatus:
    """Store a planned tree as a workflow of which nothing has started, and return its root.

    Nothing is sent. Move it on with the methods of its leaves: ``start()``, ``succeed()``, ...
    """
    return store_plan(plan, user_id=user.pk, action=action, subject=subject)


def find_node(status: UserTaskStatus, name: str) -> UserTaskStatus:
    """Return the node of this name in the workflow that ``status`` belongs to.

    Raises:
        DoesNotExist: there is none.
        MultipleObjectsReturned: there are several.
    """
    found: UserTaskStatus = UserTaskStatus.objects.get(tree_id=status.tree_id, name=name)
    return found


# -- running tasks --------------------------------------------------------------------------------


@contextmanager
def run_eagerly(eager: bool = True) -> Iterator[None]:
    """Have Celery run each task where it is sent, in a ``with`` block or a decorated function."""
    before = current_app.conf.task_always_eager
    current_app.conf.task_always_eager = eager
    try:
        yield
    finally:
        current_app.conf.task_always_eager = before


class Message(NamedTuple):
    """A message of Celery's, as a worker would receive it."""

    headers: dict[str, object]
    args: tuple[object, ...]
    kwargs: dict[str, object]
    embedded: dict[str, object]
    """The callbacks, errbacks, chain and chord that follow the task."""

    @property
    def task(self) -> str:
        """The registered name of the task."""
        return str(self.headers["task"])

    @property
    def task_id(self) -> str:
        """The id that the task runs under."""
        return str(self.headers["id"])


class _CallersWriter(progress.ProgressWriter):
    """Leaves the thread out: the worker writes what is left between two tasks."""

    def wake(self) -> None:
        """Do nothing."""


class ManualWorker:
    """Keeps the messages that are sent, and runs their tasks when told to, one after the other."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        """All messages so far."""
        self.waiting: list[Message] = []
        """Those whose tasks have not run yet, in the order of sending."""
        self._writer = _CallersWriter()
        self._capture_commit()

    def run_one(self) -> Message | None:
        """Run the task that was sent first, as a worker does; return its message, if there is one.

        Exceptions of the task are recorded, not raised. Countdowns and ETAs are not waited for.

        Raises:
            NotRegistered: no such task was imported.
        """
        self._commit()
        if not self.waiting:
            return None
        message = self.waiting.pop(0)
        task, args, kwargs = current_app.tasks[message.task], message.args, message.kwargs
        request = {
            **message.headers,
            **message.embedded,
            "args": args,
            "kwargs": kwargs,
            "is_eager": False,
            "delivery_info": {},
        }
        trace_task(task, message.task_id, args, kwargs, request, app=task.app)
        self._writer.finish()
        self._commit()
        return message

    def run_all(self) -> None:
        """Run all tasks, and those that they send, until none waits."""
        while self.run_one():
            pass

    def _receive(self, headers: object = None, body: object = None, **options: object) -> None:
        serializer = current_app.conf.task_serializer
        content_type, encoding, sent = dumps((headers, body), serializer=serializer)
        received, (args, kwargs, embedded) = loads(sent, content_type, encoding, [content_type])
        message = Message(received, tuple(args), kwargs, embedded)
        self.sent.append(message)
        self.waiting.append(message)

    def _capture_commit(self) -> None:
        self._commits = TestCase.captureOnCommitCallbacks(using=status_connection().alias)
        self._callbacks = self._commits.__enter__()

    def _commit(self) -> None:
        """Do what waits for a commit, which in a ``TestCase`` never comes."""
        while True:
            self._commits.__exit__(None, None, None)
            callbacks = self._callbacks
            self._capture_commit()
            if not callbacks:
                return
            for callback in callbacks:
                callback()


@contextmanager
def manual_worker() -> Iterator[ManualWorker]:
    """Give a ``with`` block a worker that waits until it is told to run a task.

    In a ``TestCase`` as well: before each task, and after it, everything is done that waits for a
    commit. Progress is written between two tasks, without a thread.

    Raises:
        ImproperlyConfigured: Celery's broker is another than ``memory://``.
    """
    with current_app.connection_for_write() as connection:
        if connection.transport.driver_type != "memory":
            raise ImproperlyConfigured("manual_worker() needs memory:// as Celery's broker.")
    worker = ManualWorker()
    # Weak, its end would have Celery 5.5 and 5.6 lose receivers (``Signal._remove_receiver``).
    after_task_publish.connect(worker._receive, weak=False)
    try:
        with run_eagerly(False), progress.use_writer(worker._writer):
            yield worker
    finally:
        after_task_publish.disconnect(worker._receive)
        worker._commits.__exit__(None, None, None)
        current_app.control.purge()


# -- assertions -----------------------------------------------------------------------------------

_Parts: TypeAlias = Mapping[str, "Expected"]
#: A phase, the children by name, or both.
Expected: TypeAlias = Phase | str | _Parts | tuple[Phase | str, _Parts]


def assert_tree(status: UserTaskStatus, expected: Expected) -> None:
    """Compare a node and all below it, as stored now, with what is expected.

        assert_tree(status, (Phase.FAILED, {"Read": "FAILED", "Render": {"Page 1": "SKIPPED"}}))

    Args:
        status: the root of a workflow, or a part of it.
        expected: a phase; or the children by name, each with what is expected of it; or both as a
            tuple. Of children of one name the second is called "name (2)".

    Raises:
        AssertionError: with every difference, and the tree as it is.
    """
    tree = status.tree()
    if differences := list(_differences(tree, tree.name, expected)):
        found = "\n".join(differences)
        raise AssertionError(f"The tree differs.\n{found}\n\n{tree_as_text(status)}")


def _differences(node: TreeNode, path: str, expected: Expected) -> Iterator[str]:
    phase, children = expected if isinstance(expected, tuple) else (expected, expected)
    if isinstance(phase, str) and node.phase != Phase(phase):
        yield f"{path}: expected {Phase(phase)}, is {node.phase}"
    if isinstance(children, Mapping):
        found = _by_name(node.children)
        for name, child in found.items():
            if name in children:
                yield from _differences(child, f"{path} > {name}", children[name])
            else:
                yield f"{path} > {name}: not expected"
        yield from (f"{path} > {name}: missing" for name in children if name not in found)


def _by_name(nodes: list[TreeNode]) -> dict[str, TreeNode]:
    named: dict[str, TreeNode] = {}
    for each in nodes:
        name, number = each.name, 2
        while name in named:
            name, number = f"{each.name} ({number})", number + 1
        named[name] = each
    return named


def tree_as_text(status: UserTaskStatus) -> str:
    """Return a node and all below it as lines of text: phases, names, steps, and errors."""
    errors = dict(status.subtree_artifacts(ERROR_ARTIFACT).values_list("status_id", "text"))
    lines = []
    tree = status.tree()
    for each in tree.walk():
        indent = "  " * (each.level - tree.level)
        steps = f"{each.completed_steps}/{each.total_steps}"
        is_open = "" if each.is_settled else " (open)"
        error = f": {errors[each.pk]}" if each.pk in errors else ""
        lines.append(f"{indent}{each.phase} {each.node_type} {each.name!r} {steps}{is_open}{error}")
    return "\n".join(lines)
