"""The row of one leaf: whether an event may still end it, and the columns of its verdict."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import F, QuerySet
from django.db.models.functions import Least
from django.utils.timezone import now

from ..db.connections import status_atomic
from ..phases import REPLACES, NodeType, Phase
from ..tree.nodes import open_node
from .propagation import store_error

if TYPE_CHECKING:
    from ..models import UserTaskStatus


def unended_leaf(pk: int, attempts: int | None = None) -> QuerySet[UserTaskStatus]:
    """Return the row of a leaf unless it has ended, or ``attempts`` is older than its last one."""
    upto = {} if attempts is None else {"attempts__lte": attempts}
    leaf: QuerySet[UserTaskStatus] = open_node(pk).filter(ended_at__isnull=True, **upto)
    return leaf


def unended_plain_leaf(pk: int, attempts: int | None = None) -> QuerySet[UserTaskStatus]:
    """Return the row of an unended leaf that has spawned no tasks: it is settled when it ends."""
    return unended_leaf(pk, attempts).exclude(node_type=NodeType.TASK, is_container=True)


def unended_spawner(pk: int, attempts: int | None = None) -> QuerySet[UserTaskStatus]:
    """Return the row of an unended leaf with spawned tasks below it, which may outlast it."""
    return unended_leaf(pk, attempts).filter(node_type=NodeType.TASK, is_container=True)


def outcome_columns(phase: Phase) -> dict[str, object]:
    """Return the columns of a leaf's verdict. Success completes its steps."""
    done = F("total_steps") if phase is Phase.SUCCEEDED else Least("completed_steps", "total_steps")
    return {"phase": phase, "state": phase.state, "completed_steps": done}


def write_verdict(
    leaf: QuerySet[UserTaskStatus], phase: Phase, message: str, pk: int, **columns: datetime
) -> bool:
    """Give a leaf its verdict and the reason; return False if it may not replace its phase."""
    with status_atomic() if message else nullcontext():
        undecided = leaf.filter(phase__in=REPLACES[phase])
        written = bool(undecided.update(**outcome_columns(phase), modified=now(), **columns))
        if written:
            store_error(pk, message)
    return written
