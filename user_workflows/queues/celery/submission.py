"""Storing the tree of a plan, then publishing its messages; Celery's results for it."""

from __future__ import annotations

from typing import cast

from celery import Celery
from celery.result import AsyncResult, GroupResult, ResultBase
from django.db import transaction

from ... import graph
from ...db.connections import status_atomic, status_connection
from ...lifecycle import containers, transitions
from ...lifecycle.notifications import send_signals
from ...models import UserTaskStatus
from ...phases import NodeType, Phase
from ...planning.plan import PlanNode
from ...tree import inserting
from ...tree.bounds import assign_bounds
from ...tree.nodes import TreeNode
from .compat import Send
from .context import Submission, publishing, start_tracking, submitting


def store_plan(
    root: PlanNode, *, user_id: object, action: str = "", subject: str = ""
) -> UserTaskStatus:
    """Store the whole tree of a plan, with the queries of ``insert_tree``, and return its root."""
    start_tracking()
    shared = {"user_id": user_id, "action": action, "subject": subject}
    with status_atomic():
        status = inserting.insert_tree(assign_bounds(root), None, shared)
        if any(node.is_container and not node.children for node in root.walk()):
            send_signals(containers.settle_ready(status.pk))
            transitions.refresh_instance(status)
    return status


def publish_plan(
    root: UserTaskStatus, plan: PlanNode, send: Send, app: Celery, whole: bool
) -> None:
    """Publish a stored workflow: at once, or when the caller's transaction commits.

    ``root.result`` becomes what ``send`` returns, and before the commit its equivalent. In eager
    mode the tasks run at once in any case. ``whole``: plain tasks have nodes too.

    Raises:
        Exception: what ``send`` raised. What could not be sent has ended as Failed, with that
            reason; what it prevents is Skipped, and what was sent before goes on.
    """
    eager = bool(app.conf.task_always_eager)

    def publish() -> None:
        context = Submission(root.tree_id, whole)
        # What the tasks of a whole workflow have spawned is over with it, too.
        ours = {leaf.task_id for leaf in plan.leaves()} if publishing().submission else None
        try:
            with submitting(context):
                root.result = send()
        except Exception as error:
            if eager:
                _end_eager(root.tree_id, ours, error)
            else:
                _fail_unsent(root.tree_id, plan, context.published, error)
            raise
        if eager:
            _end_eager(root.tree_id, ours, None)

    if eager:
        publish()
        transitions.refresh_instance(root)
    else:
        transaction.on_commit(publish, using=status_connection().alias)
    if root.result is None:
        root.result = result_of(plan, app)


def result_of(root: PlanNode, app: Celery) -> ResultBase | None:
    """Return a result object with the ids that a canvas will run under, before it is published."""
    if root.node_type is NodeType.GROUP:
        results = [result_of(child, app) for child in root.children]
        return GroupResult(root.task_id, cast("list[AsyncResult[object]]", results), app=app)
    if not root.is_container:
        return AsyncResult(root.task_id, app=app)
    result: ResultBase | None = None
    for part in root.children[:1] if root.node_type is NodeType.LINK else root.children:
        before, result = result, result_of(part, app)
        first = result
        while first is not None and first.parent is not None:
            first = first.parent
        if first is not None:
            first.parent = before
    return result


def _fail_unsent(tree_id: int, plan: PlanNode, published: set[str], error: Exception) -> None:
    dependencies = graph.dependencies(plan)
    first = [leaf for leaf in plan.leaves() if not dependencies.in_degree(leaf)]
    unsent = [leaf for leaf in first if leaf.task_id not in published]
    blocked = graph.prevented(dependencies, unsent)
    outcomes = {leaf.task_id: Phase.SKIPPED for leaf in blocked}
    outcomes.update((leaf.task_id, Phase.FAILED) for leaf in unsent)
    reason = f"It could not be sent to the workers: {error or type(error).__name__}"
    transitions.close_leaves(tree_id, lambda leaf: outcomes.get(leaf.task_id), reason)


def _end_eager(tree_id: int, ours: set[str] | None, error: Exception | None) -> None:
    """Settle what is open: in eager mode nothing runs once the call has returned or raised."""
    reason = (str(error) or type(error).__name__) if error else "It ended without a result."

    def outcome(leaf: TreeNode) -> Phase | None:
        if ours is not None and leaf.task_id not in ours:
            return None
        return Phase.SKIPPED if leaf.phase is Phase.PENDING else Phase.FAILED

    transitions.close_leaves(tree_id, outcome, reason)
