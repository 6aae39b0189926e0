"""The critical path of a workflow: the tasks that decide how long the whole takes."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING, Any

import networkx as nx

from ..graph import Barrier
from ..phases import Phase
from ..tree.nodes import TreeNode

if TYPE_CHECKING:
    from ..graph import Graph

#: Seconds for a task that nothing is known about.
UNKNOWN = 1.0


def critical_path(graph: Graph, at: datetime) -> list[TreeNode]:
    """The way through ``graph`` that takes longest; of equal ones the author's first.

    How long a task takes: if it is over, as long as it took; while it runs, as long as it has
    run, but not less than is usual; before, what is usual: the median of the tasks of the same
    class that have succeeded, else of all that have, else ``UNKNOWN``. A task that never ran
    takes no time. Empty where no task has started yet, so that nothing is known, and where no
    task waits for another.
    """
    leaves = [node for node in graph if not isinstance(node, Barrier)]
    if not any(leaf.started_at for leaf in leaves):
        return []
    seconds = _seconds(leaves, at)
    length: dict[Any, float] = {}
    before: dict[Any, Any] = {}
    for node in nx.topological_sort(graph):
        latest = max(graph.predecessors(node), key=length.__getitem__, default=None)
        before[node] = latest
        length[node] = seconds.get(node, 0.0) + (0.0 if latest is None else length[latest])
    path: list[Any] = []
    last = max(length, key=length.__getitem__)
    while last is not None:
        path.append(last)
        last = before[last]
    found = [node for node in reversed(path) if not isinstance(node, Barrier)]
    return found if len(found) > 1 else []


def _seconds(leaves: list[TreeNode], at: datetime) -> dict[TreeNode, float]:
    took: dict[str, list[float]] = defaultdict(list)
    for leaf in leaves:
        if leaf.phase is Phase.SUCCEEDED and (seconds := leaf.duration(at)) is not None:
            took[leaf.task_class].append(seconds)
    usual = {task_class: median(known) for task_class, known in took.items()}
    otherwise = median(chain.from_iterable(took.values())) if took else UNKNOWN

    def of(leaf: TreeNode) -> float:
        seconds = leaf.duration(at) or 0.0
        if leaf.is_settled or leaf.phase.is_terminal:
            return seconds
        return max(seconds, usual.get(leaf.task_class, otherwise))

    return {leaf: of(leaf) for leaf in leaves}
