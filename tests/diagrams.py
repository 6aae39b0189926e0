"""Trees for the tests of diagrams, built without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

from user_workflows.diagram import Diagram
from user_workflows.diagram.boxes import Box
from user_workflows.diagram.layers import layers
from user_workflows.diagram.layout import Layout, layout
from user_workflows.phases import Child, NodeType, Phase, verdict
from user_workflows.tree.nodes import TreeNode, _sum_up

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "<script>alert(1)</script>",
    '"><a href="javascript:x">',
    "&amp;]]>",
    "\x00\x1b\ud800\ufffe",
]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_pks = count(1)


def a(kind: str, name: str, *children: TreeNode, **given: Any) -> TreeNode:
    """Return a node with these children.

    Args:
        kind: The node type; containers get the verdict on their children as their phase.
        name: The name of the node.
        children: Its child nodes, in order.
        given: ``phase`` and ``seconds`` (the running time) of a task, and any other column.
    """
    pk = next(_pks)
    phase = given.pop("phase", Phase.PENDING)
    seconds = given.pop("seconds", 5.0)
    if kind not in ("task", "replaced"):
        parts = [Child(c.phase, c.allow_failure, c.is_settled) for c in children]
        phase = verdict(parts)
    ran = phase not in (Phase.PENDING, Phase.SKIPPED)
    over = phase.is_terminal and all(child.is_settled for child in children)
    values: dict[str, Any] = {
        "pk": pk,
        "uuid": UUID(int=pk),
        "task_id": str(pk),
        "parent_id": None,
        "level": 0,
        "node_type": NodeType(kind),
        "task_class": "",
        "name": name,
        "state": phase.state,
        "phase": phase,
        "allow_failure": False,
        "completed_steps": int(phase is Phase.SUCCEEDED),
        "total_steps": 1,
        "attempts": 1,
        "created": NOW,
        "modified": NOW,
        "started_at": NOW - timedelta(seconds=seconds) if ran else None,
        "settled_at": NOW if over else None,
        "ended_at": None,
        "last_seen_at": None,
        "caused_by_id": None,
        "children": list(children),
    }
    node = TreeNode(**{**values, **given})
    _sum_up(node)
    for child in children:
        child.parent_id = pk
    return node


def task(name: str, phase: Phase = Phase.PENDING, seconds: float = 5.0, **given: Any) -> TreeNode:
    """Return a task in this phase that has run for so many seconds."""
    return a("task", name, phase=phase, seconds=seconds, **given)


def parsed(drawing: Diagram) -> ElementTree.Element:
    """Parse the picture as XML."""
    return ElementTree.fromstring(str(drawing.svg))


def links(drawing: Diagram) -> list[ElementTree.Element]:
    """Return the links of the picture, one for each box."""
    return parsed(drawing).findall(f"{SVG}a")


def titles(drawing: Diagram) -> list[str]:
    """Return the titles of the links."""
    return [str(link.findtext(f"{SVG}title")) for link in links(drawing)]


def placed(root: Box) -> Layout:
    """Return the layout of these boxes."""
    return layout(layers(root))


def shown(root: Box) -> list[Box]:
    """Return the boxes that are drawn."""
    return [place.box for place in placed(root).places()]
