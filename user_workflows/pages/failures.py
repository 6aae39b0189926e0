"""The failures of a workflow as its page shows them."""

from __future__ import annotations

from ..models import UserTaskStatus
from ..phases import Phase
from ..reports.failures import failure_report
from .node_summary import ICONS
from .versions import digest

#: Failed tasks that the page shows.
MAX_FAILURES = 10


def failure_context(root: UserTaskStatus) -> dict[str, object]:
    """Return what ``_failures.html`` needs: the report, its icon and its version."""
    report = failure_report(root, MAX_FAILURES)
    phase = Phase.PARTIAL if report.allowed == report.count else Phase.FAILED
    return {"failures": report, "failures_icon": ICONS[phase], "failures_version": digest(report)}
