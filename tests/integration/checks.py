"""What must hold of a tree, whoever wrote to it; computed slowly and from the rows alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from user_workflows.models import UserTaskStatus
from user_workflows.phases import NodeType, Phase

from .crew import Result, finished, stopped

Rows = dict[int, UserTaskStatus]


def rows_of(tree_id: int) -> Rows:
    return {n.pk: n for n in UserTaskStatus.objects.filter(tree_id=tree_id).order_by("lft")}


def assert_bounds(tree_id: int) -> None:
    """Each node lies within its parent and beside its siblings, and no bound is taken twice."""
    rows = rows_of(tree_id)
    assert rows[tree_id].parent_id is None
    bounds = Counter(bound for n in rows.values() for bound in (n.lft, n.rght))
    assert max(bounds.values()) == 1, f"taken twice: {bounds.most_common(3)}"
    for node in rows.values():
        assert node.lft < node.rght, node.pk
        if node.pk != tree_id:
            parent = rows[node.parent_id]
            assert parent.lft < node.lft and node.rght < parent.rght, node.pk
            assert node.level == parent.level + 1, node.pk
    # What lies within a node's bounds is below it: here by parents, there by bounds.
    below: dict[int, set[int]] = defaultdict(set)
    for node in rows.values():
        above = node
        while above.parent_id is not None:
            above = rows[above.parent_id]
            below[above.pk].add(node.pk)
    for node in rows.values():
        inside = {n.pk for n in rows.values() if node.lft < n.lft < node.rght}
        assert inside == below[node.pk], node.pk
    strays = UserTaskStatus.objects.filter(parent__in=list(rows)).exclude(tree_id=tree_id)
    assert not strays.exists()


def expected_verdict(children: Sequence[UserTaskStatus]) -> str:
    """The final verdict on a container, spelled out anew from the contract."""
    phases = [child.phase for child in children]
    if any(c.phase == Phase.FAILED and not c.allow_failure for c in children):
        return Phase.FAILED
    if Phase.CANCELED in phases:
        return Phase.CANCELED
    if Phase.FAILED in phases or Phase.PARTIAL in phases:
        return Phase.PARTIAL
    if Phase.SKIPPED in phases:
        return Phase.SKIPPED if set(phases) == {Phase.SKIPPED} else Phase.CANCELED
    return Phase.SUCCEEDED


def assert_settled(tree_id: int) -> None:
    """All is settled, containers after and according to their children, and their sums exact."""
    rows = rows_of(tree_id)
    children: dict[int, list[UserTaskStatus]] = defaultdict(list)
    for node in rows.values():
        assert node.settled_at is not None, f"{node.name} ({node.phase}) was left open"
        if node.parent_id is not None:
            children[node.parent_id].append(node)
    sums: dict[int, Counter[str]] = {}
    for node in reversed(rows.values()):
        inside = children[node.pk]
        sums[node.pk] = sum((sums[child.pk] for child in inside), Counter())
        own = Counter(done=node.completed_steps, steps=node.total_steps)
        if node.node_type == NodeType.TASK:
            assert node.completed_steps <= node.total_steps, node.name
            sums[node.pk] += own  # What it has sent comes on top.
        elif inside:
            assert node.phase == expected_verdict(inside), (node.name, [c.phase for c in inside])
            assert own == sums[node.pk], node.name


def assert_announced_once(roots: Sequence[UserTaskStatus], results: Sequence[Result]) -> None:
    """Of all nodes of these trees, in all processes together: one signal each, one per root."""
    nodes = UserTaskStatus.objects.filter(tree_id__in=[root.pk for root in roots])
    heard = stopped(results)
    once = Counter(nodes.values_list("pk", flat=True))
    assert heard == once, {
        pk: (heard[pk], once[pk]) for pk in heard | once if heard[pk] != once[pk]
    }
    ends = Counter((n.pk, str(n.phase)) for n in nodes.filter(parent=None))
    assert finished(results) == ends
    assert not nodes.filter(parent=None, finished_sent_at=None).exists()


def assert_intact(roots: Sequence[UserTaskStatus], results: Sequence[Result]) -> None:
    """All of the above for each tree."""
    for root in roots:
        assert_settled(root.pk)
        assert_bounds(root.pk)
    assert_announced_once(roots, results)
