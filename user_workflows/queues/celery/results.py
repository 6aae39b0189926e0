"""Celery's result objects for a plan."""

from __future__ import annotations

from typing import cast

from celery import Celery
from celery.result import AsyncResult, GroupResult, ResultBase

from ...phases import NodeType
from ...planning.plan import PlanNode


def result_of(root: PlanNode, app: Celery) -> ResultBase | None:
    """Return a result object with the ids that a canvas will run under, before it is published."""
    if root.node_type is NodeType.GROUP:
        results = [result_of(child, app) for child in root.children]
        return GroupResult(root.task_id, cast("list[AsyncResult[object]]", results), app=app)
    if not root.is_container:
        return AsyncResult(root.task_id, app=app)
    parts = root.children[:1] if root.node_type is NodeType.LINK else root.children
    result: ResultBase | None = None
    for part in parts:
        before, result = result, result_of(part, app)
        first = result
        while first is not None and first.parent is not None:
            first = first.parent
        if first is not None:
            first.parent = before
    return result
