"""The dependency graph in formats of other tools: node-link data, Mermaid, DOT."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx

from ..graph import Barrier
from ..tree.nodes import TreeNode


def plain_graph(graph: nx.DiGraph[Barrier | TreeNode]) -> nx.DiGraph[str]:
    """Return the graph with text keys: each has a ``kind`` and, if a task, ``name`` and ``phase``.

    A barrier, which waits for all before it and which all after it wait for, stays a node.
    """
    keys: dict[Barrier | TreeNode, str] = {}
    plain: nx.DiGraph[str] = nx.DiGraph()
    for node in graph:
        if isinstance(node, Barrier):
            keys[node] = f"barrier-{node.number}"
            plain.add_node(keys[node], kind="barrier")
        else:
            keys[node] = str(node.uuid)
            plain.add_node(keys[node], kind="task", name=node.name, phase=node.phase.value)
    plain.add_edges_from((keys[before], keys[after]) for before, after in graph.edges)
    return plain


def mermaid(graph: nx.DiGraph[str]) -> str:
    """Return a Mermaid flow chart of a graph made by ``plain_graph``."""
    lines = _lines(graph, "{}(( ))", '{}["{}"]', "{} --> {}", _escape_mermaid)
    return "\n".join(["flowchart LR", *lines]) + "\n"


def dot(graph: nx.DiGraph[str]) -> str:
    """Return a graph made by ``plain_graph`` in DOT, the language of Graphviz."""
    box = '{} [shape=box, label="{}"];'
    lines = _lines(graph, "{} [shape=point];", box, "{} -> {};", _escape_dot)
    return "\n".join(["digraph workflow {", "    rankdir=LR;", *lines, "}"]) + "\n"


def _lines(
    graph: nx.DiGraph[str], barrier: str, task: str, edge: str, escape: Callable[[str], str]
) -> list[str]:
    names = {key: f"n{number}" for number, key in enumerate(graph)}
    lines = [
        barrier.format(names[key])
        if data["kind"] == "barrier"
        else task.format(names[key], escape(f"{data['name']} ({data['phase'].lower()})"))
        for key, data in graph.nodes(data=True)
    ]
    lines += [edge.format(names[before], names[after]) for before, after in graph.edges]
    return [f"    {line}" for line in lines]


def _escape_dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _escape_mermaid(text: str) -> str:
    # Mermaid takes HTML's entities, written with # in place of &.
    named = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "\n": " "}
    return "".join(named.get(letter, letter) for letter in text)
