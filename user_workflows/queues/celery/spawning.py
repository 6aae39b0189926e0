"""Tasks that spawn tasks while they run: what they send, add to their chord, or become.

The new subtree hangs under the node of the task that made it. What a task merely sends is waited
for by nobody: its failure makes the workflow "Succeeded with failures", and the task's successors
do not wait for it, but the workflow is settled only when it has ended too.
"""

from __future__ import annotations

from functools import wraps
from uuid import uuid4

from celery import current_app
from celery.app.task import Context
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
from .compat import AnyTask, Canvas, CanvasDict, Method, Send, parts
from .context import publish_untracked, publishing, request_state
from .planner import Args, Call, Kwargs, is_user_task, plan_canvas
from .recording import SENT_UNTRACKED, guarded


def attach_subtree(
    parent: StoredNode, plan: PlanNode, *, in_place_of: int | None = None
) -> UserTaskStatus:
    """Store the subtree of a plan below a node that is running, and return its root.

    What may have changed in the parent is read again. Where the subtree replaces its task,
    ``in_place_of`` is how often it was replaced before: the parent becomes the container of the
    subtree, and passes its task id on.

    Queries: under the tree's lock, 1 to allocate a slot, 1 for the parent, and those of
    ``inserting.insert_tree``.
    """
    name_containers(plan, {})
    with tree_lock(parent.tree_id):
        slot = allocate_slot(parent.pk, sum(1 for _ in plan.walk()))
        row = UserTaskStatus.objects.filter(pk=parent.pk).order_by()
        if in_place_of is not None:
            row.update(
                is_container=True, node_type=NodeType.REPLACED, allow_failure=False, modified=now(),
                task_id=str(uuid4()), completed_steps=0, total_steps=plan.total_steps,
            )  # fmt: skip
        elif not slot.is_container:
            row.update(is_container=True, modified=now())
        placed = assign_bounds(plan, lft=slot.lft, level=slot.level, gap=slot.gap)
        shared = {"user_id": slot.user_id, "action": slot.action, "subject": slot.subject}
        status = inserting.insert_tree(placed, parent, shared)
        if in_place_of is not None:
            replacement = UserTaskStatus.objects.filter(task_id=slot.task_id).order_by()
            replacement.update(replaced_nesting=in_place_of + 1)
    if slot.phase is Phase.CANCELED:
        status.cancel()  # A canceled task spawns nothing that runs.
    return status


def has_node(call: Call) -> bool:
    """Return whether a task that is sent by the running one gets a node."""
    if call.task_class.startswith("celery.") and call.task_class not in copying.MAPS:
        return False  # Celery's own, like ``celery.accumulate``.
    workflow = publishing().workflow()
    return is_user_task(call.task) or (workflow is not None and workflow.whole)


def spawn(
    run: Execution, canvas: Canvas, publish: Send, plain: Send, args: Args, kwargs: Kwargs | None
) -> object:
    """Store what the running task sends below its node, then publish it.

    Inside a transaction of the task both wait for its commit: the tree's lock must not be held
    as long as that. ``publish`` sends the canvas, a copy with ids; ``plain`` sends the original,
    where nothing is tracked. Return what they returned, or before the commit its equivalent.
    """
    with guarded("plan the tasks sent by", SENT_UNTRACKED, run=run) as planning:
        plan, _ = plan_canvas(canvas, keep=has_node, keep_ids=True, args=args, kwargs=kwargs)
    if planning.failed:
        return publish_untracked(plain)
    if plan is None:
        return plain()  # Celery's own, like chord_unlock: they pass the header on.
    plan.allow_failure = True
    app = canvas.app or current_app
    workflow = publishing().workflow()
    whole = workflow is not None and workflow.whole
    result: object = submission.result_of(plan, app)

    def store_and_publish() -> None:
        nonlocal result
        with guarded("store the tasks sent by", SENT_UNTRACKED, run=run) as storing:
            root = attach_subtree(run.node, plan)
        if storing.failed:
            result = publish_untracked(publish)
            return
        submission.publish_plan(root, plan, publish, app, whole)
        result = root.result

    if app.conf.task_always_eager:
        store_and_publish()
    else:
        transaction.on_commit(store_and_publish, using=status_connection().alias)
    return result


def track_replacement(on_replace: Method) -> Method:
    """Wrap ``Task.on_replace``, which ``Task.replace`` calls last."""

    @wraps(on_replace)
    def captured(self: AnyTask, sig: Canvas) -> object:
        run = publishing().execution
        if run is not None:
            _raise_if_decided(run)
            remedy = "Its user will not see what it was replaced with."
            with guarded("track the replacement of", remedy, task=self, run=run):
                _replace(self.request, run, sig)
            if self.request.is_eager:
                _drop_chain_ids(sig)
        return on_replace(self, sig)

    return captured


def _raise_if_decided(run: Execution) -> None:
    """Refuse to replace a task that was canceled, or has said that it failed.

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


def _drop_chain_ids(canvas: CanvasDict) -> None:
    """Drop ids that Celery 5.7 ``_chain.apply`` would run all tasks of a frozen chain under."""
    if canvas.get("subtask_type") == "chain":
        canvas["options"].pop("task_id", None)
    for part in parts(canvas):
        for member in [part] if isinstance(part, dict) else part:
            _drop_chain_ids(member)


def _replace(request: Context, run: Execution, sig: Canvas) -> None:
    # Celery has appended what followed the task, which has nodes already, and has given all ids
    # but those of callbacks.
    for leaf in copying.leaf_signatures(sig):
        leaf["options"].setdefault("task_id", str(uuid4()))
    following = [*(request.chain or ()), *(request.callbacks or ())]
    known = {leaf["options"].get("task_id") for leaf in copying.leaf_signatures(following)}

    def keep(call: Call) -> bool:
        return call.task_id not in known and has_node(call)

    plan, _ = plan_canvas(copying.copy_canvas(sig), keep=keep, keep_ids=True)
    if plan is None:
        return
    while len(plan.children) == 1 and not plan.named:
        plan = plan.children[0]  # Celery has wrapped it to append what follows.
    plan = _unwrap(plan)
    for task in plan.leaves():
        if task.task_id == request.id and is_user_task(current_app.tasks.get(task.task_class)):
            task.allow_failure |= run.node.allow_failure  # Celery goes on behind that one only.
    nesting: int = getattr(request, "replaced_task_nesting", 0) or 0
    attach_subtree(run.node, plan, in_place_of=nesting)
    execution.unregister(run)
    request_state(request).execution = None


def _unwrap(plan: PlanNode) -> PlanNode:
    """Return the plan without the chains that Celery put around a part to append what follows."""
    if plan.node_type is NodeType.CHAIN and len(plan.children) == 1 and not plan.named:
        return _unwrap(plan.children[0])
    plan.children[:] = [_unwrap(child) for child in plan.children]
    return plan


def track_chord_addition(add_to_chord: Method) -> Method:
    """Wrap ``Task.add_to_chord``."""

    @wraps(add_to_chord)
    def captured(self: AnyTask, sig: Canvas, lazy: bool = False) -> object:
        run = publishing().execution
        if run is not None and self.request.chord:
            remedy = "Its user will not see what it added to its chord."
            with guarded("track what was added to the chord of", remedy, task=self, run=run):
                plan, _ = plan_canvas(sig, keep=has_node, keep_ids=True)
                if plan is not None:
                    attach_subtree(run.node, plan)
        return add_to_chord(self, sig, lazy)

    return captured
