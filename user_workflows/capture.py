"""From a plan to stored rows, and from stored rows to published messages, in that order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from celery import current_task
from django.db import transaction
from django.utils.timezone import now

from . import containers, graph, rollup, rows, trees
from .announcing import announce
from .models import UserTaskStatus
from .phases import NodeType, Phase
from .plan import PlanNode

logger = logging.getLogger(__name__)

#: The headers of tracked messages: the tree, and whether plain tasks have nodes in it.
HEADER = "user_workflow"
WHOLE = "user_workflow_whole"


@dataclass(slots=True, eq=False)
class Submission:
    """A canvas that is being published by this thread."""

    tree_id: int | None
    """None for one that is not to be tracked."""
    whole: bool = True
    """Whether plain tasks have nodes too, as they have in ``workflow()``."""
    published: set[str] = field(default_factory=set)
    """The ids of the tasks that the broker has taken."""


_submission: ContextVar[Submission | None] = ContextVar("user_workflow_submission", default=None)
#: What is to be done when this process first has to do with a tracked task. Until then nobody
#: looks at what it publishes, so that plain tasks cost nothing.
_waiting: list[Callable[[], Any]] = []


def submission() -> Submission | None:
    """What this thread is publishing now."""
    return _submission.get()


def when_tracking(begin: Callable[[], Any]) -> None:
    """Has ``begin`` called when this process first stores, sends or starts a tracked task."""
    _waiting.append(begin)


def note_tracking() -> None:
    """This process has to do with a tracked task."""
    for begin in list(_waiting):
        begin()  # Perhaps in two threads at once: nobody may publish before it is done.
    _waiting.clear()


def current() -> Submission | None:
    """What this thread is publishing, or the workflow of the task that is publishing."""
    context = _submission.get()
    if context is None and not _waiting and current_task:
        request = current_task.request
        if getattr(request, HEADER, None) is not None:
            return Submission(getattr(request, HEADER), bool(getattr(request, WHOLE, False)))
    return context


def store(root: PlanNode, *, user_id: Any, action: str = "", subject: str = "") -> UserTaskStatus:
    """Writes the whole tree of a plan and returns its root.

    Queries: those of ``rows.insert``.
    """
    note_tracking()
    shared = {"user_id": user_id, "action": action, "subject": subject}
    with trees.atomic():
        status = rows.insert(trees.place(root), None, shared)
        if any(node.is_container and not node.children for node in root.walk()):
            announce(containers.settle_ready(status.pk))
            rollup.sync(status)
    return status


def graft(
    above: UserTaskStatus, plan: PlanNode, *, in_place_of: int | None = None
) -> UserTaskStatus:
    """Writes the subtree of a plan below a node that is running, and returns its root.

    Arguments:
        above: that node; what may have changed in it since is read again.
        in_place_of: for what replaces the task of that node: how often it was replaced before.
            The node becomes the container of the subtree, and passes its task id on.

    Queries: under the tree's lock, 1 to find room, 1 for the node above, and those of
    ``rows.insert``.
    """
    size = sum(1 for _ in plan.walk())
    with trees.locked(above.tree_id):
        room = trees.make_room(above.pk, size)
        row = UserTaskStatus.objects.filter(pk=above.pk).order_by()
        if in_place_of is not None:
            row.update(
                is_container=True,
                node_type=NodeType.REPLACED,
                modified=now(),
                task_id=str(uuid4()),
                completed_steps=0,
                total_steps=plan.total_steps,
                allow_failure=False,
            )
        elif not room.is_container:
            row.update(is_container=True, modified=now())
        placed = trees.place(plan, lft=room.lft, level=room.level, gap=room.gap)
        shared = {"user_id": room.user_id, "action": room.action, "subject": room.subject}
        status = rows.insert(placed, above, shared)
        if in_place_of is not None:
            heir = UserTaskStatus.objects.filter(task_id=room.task_id).order_by()
            heir.update(replaced_nesting=in_place_of + 1)
    if room.phase is Phase.CANCELED:
        status.cancel()  # A canceled task makes nothing that runs.
    return status


def submit(
    root: UserTaskStatus,
    plan: PlanNode,
    send: Callable[[], Any],
    *,
    eager: bool,
    whole: bool = True,
) -> None:
    """Publishes a stored workflow: at once, or when the caller's transaction commits.

    ``root.result`` becomes what ``send`` returns. In eager mode the tasks run at once in any
    case.

    Raises:
        Exception: what ``send`` raised. What could not be sent has ended as Failed, with that
            reason; what it prevents is Skipped, and what was sent before goes on.
    """

    def publish() -> None:
        context = Submission(root.tree_id, whole)
        # What the tasks of a whole workflow have made is over with it, too.
        ours = {leaf.task_id for leaf in plan.leaves()} if submission() else None
        token = _submission.set(context)
        try:
            root.result = send()
        except Exception as error:
            _submission.reset(token)
            if eager:
                _end_eager(root.tree_id, ours, error)
            else:
                _fail_unsent(root.tree_id, plan, context.published, error)
            raise
        _submission.reset(token)
        if eager:
            _end_eager(root.tree_id, ours, None)

    if eager:
        publish()
        rollup.sync(root)
    else:
        transaction.on_commit(publish, using=trees.connection().alias)


def untracked(send: Callable[[], Any]) -> Any:
    """Publishes a canvas without tracking it."""
    token = _submission.set(Submission(None))
    try:
        return send()
    finally:
        _submission.reset(token)


def _fail_unsent(tree_id: int, plan: PlanNode, published: set[str], error: Exception) -> None:
    dependencies = graph.dependencies(plan)
    first = [leaf for leaf in plan.leaves() if not dependencies.in_degree(leaf)]
    unsent = [leaf for leaf in first if leaf.task_id not in published]
    blocked = graph.prevented(dependencies, unsent)
    fates = {leaf.task_id: Phase.SKIPPED for leaf in blocked}
    fates.update((leaf.task_id, Phase.FAILED) for leaf in unsent)
    reason = f"It could not be sent to the workers: {error or type(error).__name__}"
    rollup.close_leaves(tree_id, lambda leaf: fates.get(leaf.task_id), reason)


def _end_eager(tree_id: int, ours: set[str] | None, error: Exception | None) -> None:
    """In eager mode nothing runs any more once the call has returned or raised."""
    reason = (str(error) or type(error).__name__) if error else "It ended without a result."

    def fate(leaf: trees.TreeNode) -> Phase | None:
        if ours is not None and leaf.task_id not in ours:
            return None
        return Phase.SKIPPED if leaf.phase is Phase.PENDING else Phase.FAILED

    rollup.close_leaves(tree_id, fate, reason)
