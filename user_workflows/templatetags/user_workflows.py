"""``{% load user_workflows %}``: the bar of a workflow on any page of a site."""

from __future__ import annotations

from django import template
from django.utils.timezone import now

from ..models import UserTaskStatus
from ..pages.list_rows import ListRow
from ..reports.formatting import format_duration, format_number, format_size

register = template.Library()


@register.inclusion_tag("user_workflows/_live_progress.html")
def workflow_progress(status: UserTaskStatus) -> dict[str, object]:
    """Show one bar with the state and a link to the page; live where ``workflow_assets`` is used.

    No permission is checked, and no query made.
    """
    return {"row": ListRow(node=status, at=now())}


@register.inclusion_tag("user_workflows/_assets.html")
def workflow_assets() -> dict[str, object]:
    """Show the style sheet and the script, for the head of a page of the site's own."""
    return {}


register.filter("uw_number", format_number)
register.filter("uw_size", format_size)
register.filter("uw_duration", format_duration)
