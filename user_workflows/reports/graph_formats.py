"""The dependency graph as others can read it: plain data, Mermaid, DOT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import networkx as nx

from ..graph import Barrier

if TYPE_CHECKING:
    from ..graph import Graph


def plain_graph(graph: Graph) -> Graph:
    """The same graph of plain keys, each with ``kind`` and, if it is a task, what it is.

    A barrier, for which all before it wait and which all after it wait for, stays a node.
    """
    keys = {node: _key(node) for node in graph}
    plain: Graph = nx.DiGraph()
    for node, key in keys.items():
        plain.add_node(key, **_attributes(node))
    plain.add_edges_from((keys[before], keys[after]) for before, after in graph.edges)
    return plain


def mermaid(graph: Graph) -> str:
    """A flow chart for Mermaid of what ``named`` made."""
    names = {key: f"n{at}" for at, key in enumerate(graph)}
    lines = ["flowchart LR"]
    for key, data in graph.nodes(data=True):
        if data["kind"] == "barrier":
            lines.append(f"    {names[key]}(( ))")
        else:
            label = f"{data['name']} ({data['phase'].lower()})"
            lines.append(f'    {names[key]}["{_escape_mermaid(label)}"]')
    lines += [f"    {names[before]} --> {names[after]}" for before, after in graph.edges]
    return "\n".join(lines) + "\n"


def dot(graph: Graph) -> str:
    """The same for Graphviz."""
    names = {key: f"n{at}" for at, key in enumerate(graph)}
    lines = ["digraph workflow {", "    rankdir=LR;"]
    for key, data in graph.nodes(data=True):
        if data["kind"] == "barrier":
            lines.append(f"    {names[key]} [shape=point];")
        else:
            label = f"{data['name']} ({data['phase'].lower()})"
            text = label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
            lines.append(f'    {names[key]} [shape=box, label="{text}"];')
    lines += [f"    {names[before]} -> {names[after]};" for before, after in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _key(node: Any) -> str:
    return f"barrier-{node.number}" if isinstance(node, Barrier) else str(node.uuid)


def _attributes(node: Any) -> dict[str, Any]:
    if isinstance(node, Barrier):
        return {"kind": "barrier"}
    return {"kind": "task", "name": node.name, "phase": node.phase.value}


def _escape_mermaid(text: str) -> str:
    # Mermaid takes HTML's entities, written with # in place of &.
    named = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "\n": " "}
    return "".join(named.get(letter, letter) for letter in text)
