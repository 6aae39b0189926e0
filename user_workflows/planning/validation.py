"""Validation of plans that Celery would not run as they say."""

from __future__ import annotations

from ..exceptions import InvalidCanvas
from ..phases import NodeType
from .plan import PlanNode


def check_allowed_failures(root: PlanNode) -> None:
    """Refuse ``allow_failure`` on containers where Celery would not go on after a failure.

    Raises:
        InvalidCanvas: something waits for the container, or it is in no group.
    """

    def check(node: PlanNode, awaited: bool, in_group: bool) -> None:
        if node.allow_failure and node.is_container and (awaited or not in_group):
            raise InvalidCanvas(
                f"{node.name!r} cannot be allowed to fail: Celery goes on only after the failure "
                "of a container that is a member of a group which nothing waits for."
            )
        last = len(node.children) - 1
        for position, child in enumerate(node.children):
            waits = awaited or (node.node_type.in_order and position < last)
            callback = node.node_type is NodeType.LINK and position > 0
            check(child, waits and not callback, callback or node.node_type is NodeType.GROUP)

    check(root, False, False)
