"""Deleting one workflow that somebody is at work on, or other apps' rows refer to."""

from __future__ import annotations

from django.db import IntegrityError
from django.db.models import ProtectedError, RestrictedError
from django.db.models.deletion import Collector

from . import trees
from .models import UserTaskStatus

#: How often it is tried to delete what running tasks still add to.
TRIES = 5


def delete(root: UserTaskStatus) -> None:
    """Deletes a whole workflow with its artifacts; one that is open is canceled first.

    Raises:
        ProtectedError, RestrictedError: other apps need it. It goes on as before.
        IntegrityError: its tasks left something each time that it was tried.
    """
    # Before it is canceled: a workflow that stays is to go on.
    Collector(root._state.db or "default", root).collect([root])
    if root.is_active:
        root.cancel()
    for attempt in range(TRIES):
        try:
            with trees.atomic():
                for found in UserTaskStatus.objects.filter(pk=root.pk):
                    found.delete()
        except (ProtectedError, RestrictedError):
            raise
        except IntegrityError:
            if attempt == TRIES - 1:
                raise
        else:
            return
