"""The managers of the two tables, for the rooms that the models are built on.

Here the circle is cut of the models, whose methods call those rooms, and of these tables: the
models are looked up in Django's registry when first used, and imported for types only.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from django.apps import apps

if TYPE_CHECKING:
    from django.db.models import Manager

    from ..models import UserTaskArtifact
    from ..tree.managers import StatusManager


@cache
def statuses() -> StatusManager:
    """Return the manager of nodes."""
    return apps.get_model("user_workflows", "UserTaskStatus").objects


def artifacts() -> Manager[UserTaskArtifact]:
    """Return the manager of artifacts."""
    return apps.get_model("user_workflows", "UserTaskArtifact").objects
