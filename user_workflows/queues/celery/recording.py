"""Errors of ours never change what Celery does with a task."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError

from ...db.connections import status_connection

logger = logging.getLogger(__name__)


#: Seconds to wait before each further try of a write.
RETRY_DELAYS = (0.1, 0.3, 1, 2, 4, 8)


P = ParamSpec("P")


R = TypeVar("R")


def recorded(record: Callable[P, R]) -> Callable[P, R | None]:
    """For whatever writes an event: tries again while the database is away, and never raises."""

    @wraps(record)
    def patiently(*args: P.args, **kwargs: P.kwargs) -> R | None:
        for pause in (*RETRY_DELAYS, None):
            try:
                return record(*args, **kwargs)
            except (OperationalError, InterfaceError) as error:
                if pause is None or status_connection().in_atomic_block:
                    logger.exception("The state of a task could not be written.")
                    return None
                logger.warning("The state of a task is not written yet: %s", error)
                status_connection().close()
                time.sleep(pause)
            except Exception:
                logger.exception("The state of a task could not be written.")
                return None
        return None

    return patiently
