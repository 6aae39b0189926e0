"""The dependency graph of a workflow, of a plan or of a stored tree: which task waits for which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, Self, TypeVar

from .phases import NodeType

# networkx takes 12 MB, in each worker process too; few of them ever draw a graph.
if TYPE_CHECKING:
    import networkx as nx

    #: Of the node objects that it was made from, and barriers.
    Graph = nx.DiGraph[Any]


class GraphNode(Protocol):
    """The part of a node that the graph needs; nodes must be hashable, too."""

    @property
    def node_type(self) -> NodeType: ...
    @property
    def allow_failure(self) -> bool: ...
    @property
    def children(self) -> Sequence[Self]: ...


N = TypeVar("N", bound=GraphNode)


class Barrier(NamedTuple):
    """A point where many wait for many: n + m edges in place of n * m. It is not a task."""

    number: int


class _Ends(NamedTuple, Generic[N]):
    """The leaves by which a subtree can be entered, and those that its successors wait for."""

    entries: list[N]
    exits: list[N]


def dependencies(root: N, *, partial: bool = False) -> Graph:
    """Return the graph below ``root``: an edge leads from a leaf to each leaf that waits for it.

    Its nodes are the given node objects themselves, and ``Barrier``s; its size is linear. If it is
    ``partial``, a container whose children were not read stands in it itself, for all of them.
    """
    import networkx as nx

    graph: Graph = nx.DiGraph()
    ends: dict[int, _Ends[N]] = {}
    waiting = [(root, False)]
    while waiting:
        node, is_below_done = waiting.pop()
        if is_below_done:
            parts = [ends.pop(id(child)) for child in node.children]
            ends[id(node)] = _add_parent(graph, node, parts)
        elif node.children:
            waiting.append((node, True))
            waiting += [(child, False) for child in reversed(node.children)]
        elif partial or node.node_type is NodeType.TASK:
            graph.add_node(node)
            ends[id(node)] = _Ends([node], [node])
        else:
            ends[id(node)] = _Ends([], [])
    return graph


def prevented(graph: Graph, failed: Iterable[N]) -> list[N]:
    """Return the leaves that can never run when those in ``failed`` do not succeed, unordered."""
    import networkx as nx

    found: set[N | Barrier] = set()
    for leaf in failed:
        if leaf not in found:
            found |= nx.descendants(graph, leaf)
    return [node for node in found if not isinstance(node, Barrier)]


def waits_for(graph: Graph, leaf: N) -> list[N]:
    """Return the leaves that must succeed right before ``leaf`` may start, unordered."""
    found: list[N] = []
    for before in graph.predecessors(leaf):
        # A barrier waits for leaves only.
        found += graph.predecessors(before) if isinstance(before, Barrier) else [before]
    return found


def _add_parent(graph: Graph, node: N, parts: list[_Ends[N]]) -> _Ends[N]:
    if node.node_type in (NodeType.TASK, NodeType.REPLACED):
        # Nothing waits for what a task has merely sent: it is allowed to fail. What a task was
        # replaced with comes last, and may be allowed to fail as the task was.
        replacement = node.children[-1] if node.node_type is NodeType.REPLACED else None
        pairs = zip(node.children, parts, strict=True)
        parts = [part for child, part in pairs if child is replacement or not child.allow_failure]
    if node.node_type is NodeType.TASK:
        graph.add_node(node)
        parts.append(_Ends([node], [node]))
    if node.node_type.in_order:
        return _in_order(graph, parts)
    if node.node_type is NodeType.LINK:
        head, *callbacks = parts
        for callback in callbacks:
            _connect(graph, head.exits, callback.entries)
        return head
    return _Ends(
        [entry for part in parts for entry in part.entries],
        [end for part in parts for end in part.exits],
    )


def _in_order(graph: Graph, parts: list[_Ends[N]]) -> _Ends[N]:
    # An empty group orders nothing: what follows it waits for what came before it.
    present = [part for part in parts if part.entries]
    if not present:
        return _Ends([], [])
    for before, after in pairwise(present):
        _connect(graph, before.exits, after.entries)
    return _Ends(present[0].entries, present[-1].exits)


def _connect(graph: Graph, before: list[N], after: list[N]) -> None:
    if len(before) > 1 and len(after) > 1:
        barrier = Barrier(graph.number_of_nodes())
        graph.add_edges_from((node, barrier) for node in before)
        graph.add_edges_from((barrier, node) for node in after)
    else:
        graph.add_edges_from((first, then) for first in before for then in after)
