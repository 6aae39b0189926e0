"""Trees as they are read, made without a database, for what draws them."""

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
    """A node with these children; ``phase`` and ``seconds`` say how a task is and how long."""
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
    """A task in this phase that has taken so long."""
    return a("task", name, phase=phase, seconds=seconds, **given)


def parsed(drawing: Diagram) -> ElementTree.Element:
    """The picture as an XML parser sees it."""
    return ElementTree.fromstring(str(drawing.svg))


def links(drawing: Diagram) -> list[ElementTree.Element]:
    """The links in it, one for each box."""
    return parsed(drawing).findall(f"{SVG}a")


def titles(drawing: Diagram) -> list[str]:
    """What the links say."""
    return [str(link.findtext(f"{SVG}title")) for link in links(drawing)]


def placed(root: Box) -> Layout:
    """Where all is that is drawn of these boxes."""
    return layout(layers(root))


def shown(root: Box) -> list[Box]:
    """The boxes that are drawn."""
    return [place.box for place in placed(root).places()]
