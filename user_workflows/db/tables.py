"""The managers of the two tables, for the rooms that the models are built on.

The models' methods call the lifecycle and the tree, which read and write these tables: that is a
circle, and this is where it is cut. The models are looked up in Django's registry when a table is
first used, so nothing here imports them, except for types: mypy knows each column by its name.
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
