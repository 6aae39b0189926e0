"""The critical path of a workflow: the tasks that decide how long the whole takes."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING

import networkx as nx

from ..graph import Barrier
from ..phases import Phase
from ..tree.nodes import TreeNode

if TYPE_CHECKING:
    from ..graph import Graph

#: Seconds that a task is thought to take while none has succeeded.
UNKNOWN = 1.0


def critical_path(graph: Graph, at: datetime) -> list[TreeNode]:
    """Return the path through ``graph`` that takes longest; of equal ones the author's first.

    A task that is over takes as long as it took; one that runs, as long as it has run, but not
    less than is usual; one that has not started, what is usual: the median of the tasks of its
    class that have succeeded, else of all that have, else ``UNKNOWN``. A task that never ran
    takes no time. The path is empty where no task has started, so that nothing is known, and
    where no task waits for another.
    """
    leaves = [node for node in graph if not isinstance(node, Barrier)]
    if not any(leaf.started_at for leaf in leaves):
        return []
    seconds = _seconds(leaves, at)
    length: dict[TreeNode | Barrier, float] = {}
    before: dict[TreeNode | Barrier, TreeNode | Barrier | None] = {}
    for node in nx.topological_sort(graph):
        latest = max(graph.predecessors(node), key=length.__getitem__, default=None)
        before[node] = latest
        length[node] = seconds.get(node, 0.0) + (0.0 if latest is None else length[latest])
    path: list[TreeNode] = []
    last: TreeNode | Barrier | None = max(length, key=length.__getitem__)
    while last is not None:
        if not isinstance(last, Barrier):
            path.append(last)
        last = before[last]
    return path[::-1] if len(path) > 1 else []


def _seconds(leaves: list[TreeNode], at: datetime) -> dict[TreeNode | Barrier, float]:
    took: dict[str, list[float]] = defaultdict(list)
    for leaf in leaves:
        if leaf.phase is Phase.SUCCEEDED and (seconds := leaf.duration(at)) is not None:
            took[leaf.task_class].append(seconds)
    usual = {task_class: median(known) for task_class, known in took.items()}
    otherwise = median(chain.from_iterable(took.values())) if took else UNKNOWN
    found: dict[TreeNode | Barrier, float] = {}
    for leaf in leaves:
        least = usual.get(leaf.task_class, otherwise)
        is_over = leaf.is_settled or leaf.phase.is_terminal
        found[leaf] = max(leaf.duration(at) or 0.0, 0.0 if is_over else least)
    return found
