"""Messages that tell users why a task failed."""

from __future__ import annotations

from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from django.utils.translation import gettext


def error_message(error: BaseException) -> str:
    """Return why a task failed, for its user."""
    if isinstance(error, TimeLimitExceeded | SoftTimeLimitExceeded):
        limit = next((arg for arg in error.args if isinstance(arg, int | float)), None)
        if limit is None:
            return gettext("It took longer than it was allowed to.")
        return gettext("It took longer than the %(limit)s seconds it was allowed to.") % {
            "limit": limit
        }
    if isinstance(error, WorkerLostError):
        return gettext("The process that ran it has died: %(error)s") % {"error": error}
    return str(error) or type(error).__name__
