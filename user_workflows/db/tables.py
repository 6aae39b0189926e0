"""The two tables, for the modules that the models are built on."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.apps import apps


@cache
def statuses() -> Any:
    """The manager of nodes, for the modules that the models are built on."""
    return apps.get_model("user_workflows", "UserTaskStatus")._default_manager


def artifacts() -> Any:
    """The manager of artifacts, likewise."""
    return apps.get_model("user_workflows", "UserTaskArtifact")._default_manager
