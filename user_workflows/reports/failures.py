"""The failed tasks of a workflow, with their messages and what they prevented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, cast
from uuid import UUID

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce

from ..fields import ERROR_ARTIFACT
from ..models import UserTaskArtifact, UserTaskStatus
from ..phases import NodeType
from .paths import Paths

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations

    class _Reason(TypedDict):
        message: str | None
        prevented: int

    _FailedLeaf = WithAnnotations[UserTaskStatus, _Reason]


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that failed."""

    uuid: UUID
    path: list[str]
    """The names from the first below the top down to the task; empty for the top itself."""
    name: str
    message: str
    attempts: int
    allow_failure: bool
    prevented: int
    """Tasks that were not run because of it."""


@dataclass(frozen=True, slots=True)
class FailureReport:
    """The first of the failed tasks below a node, and their number."""

    count: int
    allowed: int
    """Those of them that were allowed to fail."""
    shown: list[Failure]
    """Root causes first, those that were allowed to fail last."""


def failure_report(top: UserTaskStatus, most: int) -> FailureReport:
    """Return the number of failed tasks in a subtree, and the first ``most`` of them.

    Queries: one if no task failed, else one more for each level above the failed tasks, and two
    more if there are more of them than ``most``.
    """
    failed = top.failures()
    errors = UserTaskArtifact.objects.filter(name=ERROR_ARTIFACT, status=OuterRef("pk"))
    skipped = UserTaskStatus.objects.order_by().filter(
        tree_id=OuterRef("tree_id"), node_type=NodeType.TASK, caused_by=OuterRef("pk")
    )
    counts = skipped.values("caused_by").annotate(number=Count("pk")).values("number")
    message = Subquery(errors.order_by("pk").values("text")[:1])
    annotated = failed.annotate(message=message, prevented=Coalesce(Subquery(counts), 0))
    leaves = cast("list[_FailedLeaf]", list(annotated[: most + 1]))
    if len(leaves) <= most:
        count, allowed = len(leaves), sum(leaf.allow_failure for leaf in leaves)
    else:
        count, allowed = failed.count(), failed.filter(allow_failure=True).count()
    del leaves[most:]
    paths = Paths(top, leaves)
    shown = [
        Failure(
            leaf.uuid, paths.of(leaf), leaf.name, leaf.message or "",
            leaf.attempts, leaf.allow_failure, leaf.prevented,
        )
        for leaf in leaves
    ]  # fmt: skip
    return FailureReport(count, allowed, shown)
