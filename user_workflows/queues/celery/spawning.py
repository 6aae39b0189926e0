"""Tasks that make more tasks while they run: what they send, add to their chord, or become.

The new subtree hangs under the node of the task that made it. What a task merely sends is waited
for by nobody: its failure makes the workflow "Succeeded with failures", and the task's successors
do not wait for it, but the workflow is settled only when it has ended too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import uuid4

from celery import Task, current_app
from django.db import transaction
from django.utils.timezone import now

from ...db.connections import status_connection
from ...exceptions import TaskCanceledException
from ...lifecycle import execution
from ...lifecycle.execution import Execution
from ...models import UserTaskStatus
from ...phases import NodeType, Phase
from ...planning.naming import name_containers
from ...planning.plan import PlanNode
from ...tree import inserting
from ...tree.bounds import assign_bounds
from ...tree.locking import tree_lock
from ...tree.nodes import StoredNode
from ...tree.slots import allocate_slot
from . import copying, submission
from .context import current_execution, inherited_submission, publish_untracked
from .planner import Call, is_user_task, plan_canvas
from .results import result_of

logger = logging.getLogger(__name__)


def attach_subtree(
    above: StoredNode, plan: PlanNode, *, in_place_of: int | None = None
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
    with tree_lock(above.tree_id):
        room = allocate_slot(above.pk, size)
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
        placed = assign_bounds(plan, lft=room.lft, level=room.level, gap=room.gap)
        shared = {"user_id": room.user_id, "action": room.action, "subject": room.subject}
        status = inserting.insert_tree(placed, above, shared)
        if in_place_of is not None:
            heir = UserTaskStatus.objects.filter(task_id=room.task_id).order_by()
            heir.update(replaced_nesting=in_place_of + 1)
    if room.phase is Phase.CANCELED:
        status.cancel()  # A canceled task makes nothing that runs.
    return status


#: Celery's own tasks that do a site's work; others, like ``celery.accumulate``, have no nodes.
_COUNTED_BUILTINS = {"celery.map", "celery.starmap", "celery.chunks"}


def install() -> None:
    """Wraps what Celery calls when a task replaces itself or adds to its chord."""
    if not hasattr(Task.on_replace, "captures"):
        for name, wrapper in (
            ("on_replace", _wrap_on_replace),
            ("add_to_chord", _wrap_add_to_chord),
        ):
            captured = wrapper(getattr(Task, name))
            captured.captures = True  # type: ignore[attr-defined]
            setattr(Task, name, captured)


def has_node(call: Call) -> bool:
    """Whether a task that is sent by the running one gets a node."""
    if call.task_class.startswith("celery.") and call.task_class not in _COUNTED_BUILTINS:
        return False
    context = inherited_submission()
    return is_user_task(call.task) or (context is not None and context.whole)


def send_below(
    run: Execution,
    canvas: Any,
    publish: Callable[[], Any],
    plain: Callable[[], Any],
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
) -> Any:
    """Stores what the running task sends below its node, then publishes it.

    Inside a transaction of the task both wait for its commit: the tree's lock must not be held
    as long as that. Returns what ``publish`` returned, or before the commit its equivalent.
    """
    try:
        plan, _ = plan_canvas(canvas, keep=has_node, keep_ids=True, args=args, kwargs=kwargs)
    except Exception:
        logger.exception("The tasks are sent, but their user will not see them.")
        return publish_untracked(plain)
    if plan is None:
        return plain()  # Celery's own, like chord_unlock: they pass the header on.
    plan.allow_failure = True
    app = canvas.app or current_app
    eager = bool(app.conf.task_always_eager)
    context = inherited_submission()
    result = result_of(plan, app)

    def store_and_publish() -> None:
        nonlocal result
        try:
            root = _store_below(run, plan)
        except Exception:
            logger.exception("The tasks are sent, but their user will not see them.")
            result = publish_untracked(publish)
            return
        whole = context is not None and context.whole
        submission.publish_plan(root, plan, publish, eager=eager, whole=whole)
        result = root.result or result

    if eager:
        store_and_publish()
    else:
        transaction.on_commit(store_and_publish, using=status_connection().alias)
    return result


def _store_below(run: Execution, plan: PlanNode, **options: Any) -> UserTaskStatus:
    name_containers(plan, {})
    return attach_subtree(run.node, plan, **options)


def _wrap_on_replace(on_replace: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(on_replace)
    def captured(self: Any, sig: Any) -> Any:
        run = current_execution()
        if run is not None:
            _refuse_if_over(run)
            try:
                _replace(self.request, run, sig)
            except Exception:
                logger.exception("The user will not see what a task was replaced with.")
            if self.request.is_eager:
                _drop_chain_ids(sig)
        return on_replace(self, sig)

    return captured


def _refuse_if_over(run: Execution) -> None:
    """A task that was canceled, or has said that it failed, is not replaced.

    Raises:
        TaskCanceledException: it was canceled.
        RuntimeError: it has failed; so it has for Celery too, and nothing waits for it in vain.
    """
    row = UserTaskStatus.objects.filter(pk=run.pk).values_list("phase", "name").first()
    phase, name = row or (None, "")
    if phase == Phase.CANCELED:
        raise TaskCanceledException(f"{name} was canceled.")
    if phase == Phase.FAILED:
        raise RuntimeError(f"{name} has failed, so nothing can take its place.")


def _drop_chain_ids(canvas: Any) -> None:
    """Celery's eager mode would run all tasks of a frozen chain under the chain's own id."""
    kind, kwargs = canvas.get("subtask_type"), canvas["kwargs"]
    if kind == "chain":
        canvas["options"].pop("task_id", None)
    if kind in ("chain", "group"):
        parts = list(kwargs["tasks"])
    else:
        parts = [*kwargs["header"]["kwargs"]["tasks"], kwargs["body"]] if kind == "chord" else []
    for part in parts:
        _drop_chain_ids(part)


def _replace(request: Any, run: Execution, sig: Any) -> None:
    # Celery has appended what followed the task, which has nodes already, and has given all ids
    # but those of callbacks.
    for leaf in copying.leaf_signatures(sig):
        leaf["options"].setdefault("task_id", str(uuid4()))
    following = [*(request.chain or ()), *(request.callbacks or ())]
    known = {leaf["options"].get("task_id") for leaf in copying.leaf_signatures(following)}
    plan, _ = plan_canvas(
        copying.copy_canvas(sig),
        keep=lambda call: call.task_id not in known and has_node(call),
        keep_ids=True,
    )
    if plan is None:
        return
    while len(plan.children) == 1 and not plan.named:
        plan = plan.children[0]  # Celery has wrapped it to append what follows.
    plan = _unwrapped(plan)
    for leaf in plan.leaves():
        if leaf.task_id == request.id and is_user_task(current_app.tasks.get(leaf.task_class)):
            leaf.allow_failure |= run.node.allow_failure  # Celery goes on behind that one only.
    nesting = getattr(request, "replaced_task_nesting", 0) or 0
    _store_below(run, plan, in_place_of=nesting)
    execution.unregister(run)
    request.user_workflow_run = None


def _unwrapped(plan: PlanNode) -> PlanNode:
    """The plan without the chains that Celery has put around a part to append what follows."""
    if plan.node_type is NodeType.CHAIN and len(plan.children) == 1 and not plan.named:
        return _unwrapped(plan.children[0])
    plan.children[:] = [_unwrapped(child) for child in plan.children]
    return plan


def _wrap_add_to_chord(add_to_chord: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(add_to_chord)
    def captured(self: Any, sig: Any, lazy: bool = False) -> Any:
        run = current_execution()
        if run is not None and self.request.chord:
            try:
                plan, _ = plan_canvas(sig, keep=has_node, keep_ids=True)
                if plan is not None:
                    _store_below(run, plan)
            except Exception:
                logger.exception("The user will not see what a task added to its chord.")
        return add_to_chord(self, sig, lazy)

    return captured
