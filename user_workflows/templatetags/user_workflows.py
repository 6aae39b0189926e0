"""``{% load user_workflows %}``: the bar of a workflow on any page of a site."""

from __future__ import annotations

from django import template
from django.utils.timezone import now

from ..models import UserTaskStatus
from ..pages.list_rows import ListRow
from ..reports.formatting import format_number, format_size

register = template.Library()


@register.inclusion_tag("user_workflows/_live_progress.html")
def workflow_progress(status: UserTaskStatus) -> dict[str, object]:
    """One bar with the state and a link to the page; it moves where ``workflow_assets`` is used.

    ``status`` is a workflow, or a part of one, that the reader may see. No query.
    """
    return {"row": ListRow(node=status, at=now())}


@register.inclusion_tag("user_workflows/_assets.html")
def workflow_assets() -> dict[str, object]:
    """The style sheet and the script, for the head of a page that is not one of ours."""
    return {}


@register.filter
def uw_number(number: int) -> str:
    """A number with its digits grouped: 10,000."""
    return format_number(number)


register.filter("uw_size", format_size)
