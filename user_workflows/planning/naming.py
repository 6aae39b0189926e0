"""Names of containers."""

from __future__ import annotations

from django.utils.translation import gettext, ngettext

from ..fields import MAX_TEXT_LENGTH
from ..phases import NodeType
from .plan import PlanNode


def name_containers(root: PlanNode, task_names: dict[str, str]) -> None:
    """Name the containers that have no name yet.

    Each gets the ``user_task_name`` of the first task in it that has one (``task_names``, by task
    id), as in django-user-tasks, else its label.
    """
    for node in root.walk():
        if node.is_container and not node.name:
            names = (task_names.get(leaf.task_id) for leaf in node.leaves())
            node.name = next(filter(None, names), "")[:MAX_TEXT_LENGTH] or container_label(node)


def container_label(node: PlanNode) -> str:
    """Return the name of a container that was given none."""
    count = sum(1 for _ in node.leaves())
    if node.node_type is NodeType.LINK:
        return node.children[0].name or container_label(node.children[0])
    if node.node_type is NodeType.CHORD and len(node.children) == 2:
        after = sum(1 for _ in node.children[1].leaves())
        label = ngettext("%(count)d task, then %(after)d", "%(count)d tasks, then %(after)d", count)
        return label % {"count": count - after, "after": after}
    if count == 0:
        return gettext("nothing to do")
    if node.node_type is NodeType.CHAIN:
        return ngettext("%d task", "%d tasks in order", count) % count
    return ngettext("%d task", "%d tasks at once", count) % count
