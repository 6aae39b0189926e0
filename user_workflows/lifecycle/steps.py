"""Step totals: added up from the leaves, and stored on the containers above them."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import F, Q, Sum
from django.db.models.functions import Least
from django.utils.timezone import now

from ..db.tables import statuses
from ..phases import NodeType
from ..tree.bounds import within
from ..tree.locking import tree_lock, tree_lock_in_transaction
from ..tree.nodes import StoredNode, TreeNode, ancestors_of, open_node


def store_sums(nodes: list[TreeNode]) -> None:
    """Store the sums of these containers, as read. One UPDATE for each 500."""
    row = statuses().model
    sums = [
        row(pk=node.pk, completed_steps=node.completed_steps, total_steps=node.total_steps)
        for node in nodes
        if node.is_container
    ]
    statuses().bulk_update(sums, ["completed_steps", "total_steps"], batch_size=500)


def leaf_sums(container: StoredNode) -> dict[str, int]:
    """Return the sums of the leaves below a container, as columns of it. One query."""
    below = within(container.pk, container.tree_id)
    leaves = statuses().filter(below, node_type=NodeType.TASK)
    sums = leaves.order_by().aggregate(
        done=Sum(Least("completed_steps", "total_steps")), steps=Sum("total_steps")
    )
    return {"completed_steps": sums["done"] or 0, "total_steps": sums["steps"] or 0}


def store_sums_above(node: StoredNode) -> None:
    """Store the sums of the open containers above a node. Two queries for each.

    Under the tree's lock: of two processes that count at once, the later one must see what the
    other has counted.
    """
    if node.parent_id is None:
        return
    with tree_lock(node.tree_id):
        for container in ancestors_of(node):
            if container.settled_at is None and container.node_type != NodeType.TASK:
                open_node(container.pk).update(**leaf_sums(container))


def roll_up(tree_id: int, every: timedelta) -> bool:
    """Store the sums of a tree's open containers, at most once within ``every``.

    Return False if it was done less than ``every`` ago, and is to be done later. Three queries,
    and one for each container whose sums have changed.
    """
    root = open_node(tree_id).filter(is_container=True)
    last = root.values_list("rolled_up_at").first()
    if last is None:
        return True
    at = now()
    due = Q(rolled_up_at__isnull=True) | Q(rolled_up_at__lte=at - every)
    due |= Q(rolled_up_at__gt=at + every)  # The clock was set back.
    if not root.filter(due).update(rolled_up_at=at):
        return False
    columns = ("pk", "parent_id", "node_type", "completed_steps", "total_steps")
    rows = statuses().filter(tree_id=tree_id).order_by("lft").values_list(*columns)
    sums: dict[int, list[int]] = {}
    stored = []
    for pk, parent_id, node_type, done, steps in rows:
        sums[pk] = [min(done, steps), steps] if node_type == NodeType.TASK else [0, 0]
        stored.append((pk, parent_id, node_type, (done, steps)))
    for pk, parent_id, node_type, old in reversed(stored):
        done, steps = sums[pk]
        if parent_id in sums:
            sums[parent_id][0] += done
            sums[parent_id][1] += steps
        if node_type != NodeType.TASK and old != (done, steps):
            open_node(pk).update(completed_steps=done, total_steps=steps)
    return True


def add_steps(node: StoredNode, completed: int, total: int) -> None:
    """Add steps to a node, and to the stored sums of its ancestors."""
    done, steps = F("completed_steps") + completed, F("total_steps") + total
    with tree_lock_in_transaction(node.tree_id):
        open_node(node.pk).update(completed_steps=done, total_steps=steps, modified=now())
        store_sums_above(node)
