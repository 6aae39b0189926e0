"""Which nodes of a tree end, with which phase and by whose failure: pure, without a database.

``transitions`` and ``containers`` write what follows here from ``TreeNode``s as they were read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..phases import REPLACES, Child, Phase, verdict
from ..tree.nodes import TreeNode

OutcomeOf = Callable[[TreeNode], Phase | None]


class Change(NamedTuple):
    """The phase that an open node gets, and whether it is settled with it."""

    node: TreeNode
    phase: Phase
    settles: bool


class Closing(NamedTuple):
    """The consequences for a tree of the end of some of its leaves."""

    leaves: list[Change]
    """In tree order."""
    containers: list[Change]
    """Children before parents."""
    cause: int | None
    """The first leaf whose failure was not allowed."""
    unexplained: list[int]
    """The nodes that have failed by this and have no reason of their own."""


def close_leaves(tree: TreeNode, outcome_of: OutcomeOf) -> Closing:
    """Return what changes if the open leaves end with the outcomes that ``outcome_of`` gives them.

    A leaf for which it returns None stays open. One whose phase its outcome may not replace
    (``phases.REPLACES``) is settled with the phase it has, such as Canceled.
    """
    nodes = list(tree.walk())
    leaves = [node for node in nodes if not node.is_container]
    closed = []
    for leaf in leaves:
        outcome = None if leaf.is_settled else outcome_of(leaf)
        if outcome is not None:
            phase = outcome if leaf.phase in REPLACES[outcome] else leaf.phase
            closed.append(Change(leaf, phase, settles=True))
    containers = settle_containers(nodes, closed)
    failed = [change.node for change in closed if change.phase is Phase.FAILED]
    unexplained = [leaf.pk for leaf in failed if leaf.phase is not Phase.FAILED]
    failed += [leaf for leaf in leaves if leaf.phase is Phase.FAILED]
    cause = next((leaf.pk for leaf in failed if not leaf.allow_failure), None)
    phases = {change.node.pk: change.phase for change in containers}
    unexplained += [
        node.pk
        for node in nodes
        if node.is_container and not node.is_settled and node.caused_by_id is None
        if phases.get(node.pk, node.phase) is Phase.FAILED
    ]
    return Closing(closed, containers, cause, unexplained)


def settle_containers(nodes: list[TreeNode], closed: Iterable[Change] = ()) -> list[Change]:
    """Return what follows for the open containers among ``nodes`` if leaves are ``closed``.

    Parents come before their children in ``nodes``, after them in what is returned. A task with
    spawned tasks is a container, too, but keeps its phase until all have ended.
    """
    current = {node.pk: Child(node.phase, node.allow_failure, node.is_settled) for node in nodes}
    for node, phase, settles in closed:
        current[node.pk] = Child(phase, node.allow_failure, settles)
    changes = []
    for node in reversed(nodes):
        if current[node.pk].settled or not (node.is_container or node.children):
            continue
        children = [current[child.pk] for child in node.children]
        if not node.is_container:
            children.append(Child(node.phase, False, node.ended_at is not None))
        settles = all(child.settled for child in children)
        phase = verdict(children) if settles or node.is_container else node.phase
        if settles or phase is not node.phase:
            changes.append(Change(node, phase, settles))
        current[node.pk] = Child(phase, node.allow_failure, settles)
    return changes


def grouped(changes: Iterable[Change]) -> dict[tuple[Phase, bool], list[TreeNode]]:
    """Return the nodes by what is written for them: phase, and whether they are settled."""
    nodes: dict[tuple[Phase, bool], list[TreeNode]] = defaultdict(list)
    for change in changes:
        nodes[change.phase, change.settles].append(change.node)
    return nodes
