"""Celery's result objects for a plan."""

from __future__ import annotations

from typing import Any

from celery.result import AsyncResult, GroupResult

from ...phases import NodeType
from ...planning.plan import PlanNode


def result_of(root: PlanNode, app: Any) -> Any:
    """A result object with the ids that a canvas will run under, before it is published."""
    if root.node_type is NodeType.GROUP:
        return GroupResult(root.task_id, [result_of(c, app) for c in root.children], app=app)
    if not root.is_container:
        return AsyncResult(root.task_id, app=app)
    parts = root.children[:1] if root.node_type is NodeType.LINK else root.children
    result = None
    for part in parts:
        before, result = result, result_of(part, app)
        first = result
        while getattr(first, "parent", None) is not None:
            first = first.parent
        if first is not None:
            first.parent = before
    return result
