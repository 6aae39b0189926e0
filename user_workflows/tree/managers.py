"""Managers and querysets of nodes and their artifacts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, Self

from django.db import models
from django.db.models.lookups import Exact, In
from django.utils.timezone import now

from ..db.timestamps import restamp_if_slow
from ..exceptions import TreeOperationRefused
from .bounds import within

if TYPE_CHECKING:
    from django.db.models import Manager as TreeManager
    from django.db.models import QuerySet as TreeQuerySet

    from ..models import UserTaskArtifact, UserTaskStatus  # noqa: F401
else:
    from mptt.managers import TreeManager
    from mptt.querysets import TreeQuerySet


class StatusQuerySet(TreeQuerySet["UserTaskStatus"]):
    """Queries on nodes."""

    def update(self, **columns: Any) -> int:
        """Store columns; ``modified`` is re-stamped if the rows become visible late."""
        begun = now()
        found = super().update(**columns)
        if found and isinstance(columns.get("modified"), datetime):
            restamp_if_slow(columns["modified"], begun, self.db, **self._lasting_conditions())
        return found

    def _lasting_conditions(self) -> dict[str, object]:
        """Return the conditions on columns that never change: they find the same rows again."""
        return {
            f"{each.lhs.target.attname}__{each.lookup_name}": each.rhs
            for each in self.query.where.children
            if isinstance(each, (Exact, In)) and each.lhs.target.attname in ("id", "tree_id")
        }

    def roots(self) -> Self:
        """Return whole workflows: the nodes without a parent."""
        return self.filter(parent__isnull=True)

    def settled(self) -> Self:
        """Return the nodes below which nothing can run any more."""
        return self.filter(settled_at__isnull=False)

    def active(self) -> Self:
        """Return the nodes below which something still runs, or will."""
        return self.filter(settled_at__isnull=True)

    def for_user(self, user: Any) -> Self:
        """Return the nodes of workflows that ``user`` started."""
        return self.filter(user=user)

    def latest_for(
        self, user: Any, *, action: str = "", subject: str = ""
    ) -> UserTaskStatus | None:
        """Return the workflow that ``user`` started last, of this action and about this subject."""
        given = {"action": action, "subject": subject}
        query = self.roots().for_user(user).filter(**{k: v for k, v in given.items() if v})
        return query.order_by("-created", "-pk").first()

    def with_subtree(self) -> StatusQuerySet:
        """Return these nodes and all nodes below them, in tree order.

        One query for these when it is called, one for all when the result is read.
        """
        tops = dict(self.values_list("pk", "tree_id"))
        tree_id, lft, rght = map(models.OuterRef, ("tree_id", "lft", "rght"))
        nodes = self.model._default_manager
        above = nodes.filter(pk__in=tops, tree_id=tree_id, lft__lte=lft, rght__gte=rght)
        in_trees = nodes.filter(tree_id__in=set(tops.values()))
        return in_trees.filter(models.Exists(above)).order_by("tree_id", "lft")


_StatusManager = TreeManager.from_queryset(StatusQuerySet)


class StatusManager(_StatusManager["UserTaskStatus"]):
    """MPTT's manager without what would renumber trees that workers are writing to."""

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TreeOperationRefused(
            "Trees are written as a whole when a workflow is submitted and are not moved or "
            "renumbered afterwards; `check_trees --repair` mends a damaged one."
        )

    rebuild = _refuse
    partial_rebuild = _refuse
    move_node = _refuse
    insert_node = _refuse
    build_tree_nodes = _refuse
    disable_mptt_updates = _refuse
    delay_mptt_updates = _refuse


class ArtifactQuerySet(models.QuerySet["UserTaskArtifact"]):
    """Queries on artifacts."""

    def below(self, node: UserTaskStatus) -> Self:
        """Return the artifacts of a node and of all below it, copies of errors included."""
        return self.filter(within(node.pk, node.tree_id, "status__"))
