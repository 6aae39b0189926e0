"""The abstract model of nodes: MPTT's, with bounds, writes and methods that suit a live tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from .. import graph
from ..db.connections import status_atomic, status_connection
from ..db.timestamps import restamp_if_slow
from ..exceptions import TreeOperationRefused
from ..phases import NodeType, Phase
from .bounds import NODE_GAP, within
from .locking import tree_lock
from .managers import StatusManager, StatusQuerySet
from .nodes import TreeNode, percent, read_tree
from .slots import allocate_slot

if TYPE_CHECKING:
    from django.db.models import ForeignKey as TreeForeignKey

    class MPTTModel(models.Model):
        """The part of MPTT's model that is used; it has no types."""

        def get_ancestors(
            self, ascending: bool = False, include_self: bool = False
        ) -> models.QuerySet[Self]: ...
        def get_descendants(self, include_self: bool = False) -> models.QuerySet[Self]: ...

        class Meta:
            abstract = True
else:
    from mptt.models import MPTTModel, TreeForeignKey


class TreeModel(MPTTModel):
    """A node of a tree that other processes read and write at the same time.

    An instance remembers the columns as they were read, so that only changed ones are written.
    """

    parent = TreeForeignKey(
        "self",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        default=None,
        db_index=False,  # The index "user_workflows_unfinished" begins with it.
        help_text=_("The node that contains this one; empty for a whole workflow"),
    )
    is_container = models.BooleanField(
        default=False, help_text=_("Whether this node contains others")
    )
    node_type = models.CharField(
        max_length=16, choices=NodeType.choices, default=NodeType.TASK, editable=False
    )
    phase = models.CharField(
        max_length=16, choices=Phase.choices, default=Phase.PENDING, editable=False
    )
    completed_steps = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField()
    settled_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text=_("Since when nothing here can run any more"),
    )
    modified = models.DateTimeField(default=now, editable=False)
    tree_id = models.BigIntegerField(editable=False)
    lft = models.BigIntegerField(editable=False)
    rght = models.BigIntegerField(editable=False)
    level = models.PositiveIntegerField(editable=False)

    objects = StatusManager()

    if TYPE_CHECKING:
        parent_id: int | None

    class Meta:
        abstract = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stored: dict[str, object] = {}

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        """Make an instance of what was read, and remember it."""
        instance = super().from_db(*args, **kwargs)
        instance.note_stored()
        return instance

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: models.QuerySet[Self] | None = None,
    ) -> None:
        """Read the row, or some columns of it, and forget what was changed in them."""
        fields = None if fields is None else list(fields)
        super().refresh_from_db(using, fields, from_queryset)
        self._stored.update(self._columns(fields))

    def _columns(self, named: Iterable[str] | None = None) -> dict[str, object]:
        """Return the columns that are loaded, or those of them whose fields are ``named``."""
        loaded, wanted = vars(self), None if named is None else {*named}
        return {
            field.attname: loaded[field.attname]
            for field in self._meta.concrete_fields
            if field.attname in loaded and (wanted is None or wanted & {field.name, field.attname})
        }

    def note_stored(self) -> None:
        """Note that the columns of this instance are as stored."""
        self._stored = self._columns()

    def apply_row(self, **columns: object) -> None:
        """Set columns on this instance that were written in the database."""
        for name, value in columns.items():
            setattr(self, name, value)
        self._stored.update(columns)

    def _insert(self, *args: Any, **kwargs: Any) -> None:
        """Insert this node, behind its siblings."""
        if self.parent_id is None:
            with status_atomic():
                self.level, self.lft, self.rght, self.tree_id = 0, 1, 1 + NODE_GAP, 0
                super().save(*args, **kwargs)
                self.tree_id = self.pk
                type(self).objects.filter(pk=self.pk).update(tree_id=self.pk)
        else:
            parents = type(self).objects.filter(pk=self.parent_id)
            with tree_lock(parents.values_list("tree_id", flat=True).get()):
                slot = allocate_slot(self.parent_id)
                self.tree_id, self.level = slot.tree_id, slot.level
                self.lft, self.rght = slot.lft, slot.lft + slot.gap
                super().save(*args, **kwargs)
                parents.filter(is_container=False).update(is_container=True)
        self.note_stored()

    def _update(self, *args: Any, except_for: str, **kwargs: Any) -> bool:
        """Write the changed columns but one; return whether that one was changed."""
        changed = {k: v for k, v in self._columns().items() if v != self._stored.get(k)}
        if "parent_id" in changed:
            raise TreeOperationRefused("A node stays in the place where it was submitted.")
        if kwargs.get("update_fields") is not None:
            wanted = self._columns(kwargs["update_fields"])
            changed = {k: v for k, v in changed.items() if k in wanted}
        excepted = except_for in changed
        changed.pop(except_for, None)
        if changed:
            self.modified = now()
            super().save(*args[:3], **{**kwargs, "update_fields": {*changed, "modified"}})
            restamp_if_slow(self.modified, self.modified, status_connection().alias, pk=self.pk)
        self._stored.update(changed)
        return excepted

    def delete(
        self, using: str | None = None, keep_parents: bool = False
    ) -> tuple[int, dict[str, int]]:
        """Delete the node and all below it; the gap it leaves harms nothing.

        Under the tree's lock, so that nothing is inserted there meanwhile.
        """
        with tree_lock(self.tree_id):
            return models.Model.delete(self, using, keep_parents)

    @property
    def is_settled(self) -> bool:
        """True when nothing in this subtree can run any more."""
        return self.settled_at is not None

    @property
    def is_active(self) -> bool:
        """True while something in this subtree still runs, or will."""
        return self.settled_at is None

    @property
    def percent(self) -> int:
        """Completed steps of 100, from the stored columns."""
        return percent(self.completed_steps, self.total_steps)

    def tree(self) -> TreeNode:
        """Return this node and all below it, nested, with sums and counts as of now. One query."""
        node = read_tree(self.tree_id, self.pk)
        if node is None:
            raise type(self).DoesNotExist("This node was deleted.")
        return node

    def _leaves(self) -> StatusQuerySet:
        subtree = within(self.pk, self.tree_id)
        return type(self).objects.filter(subtree, node_type=NodeType.TASK).order_by()

    def counts(self) -> Counter[Phase]:
        """Return the number of leaves of this subtree in each phase. One query."""
        rows = self._leaves().values_list("phase").annotate(models.Count("pk"))
        return Counter({Phase(phase): count for phase, count in rows})

    def eta(self, at: datetime | None = None) -> timedelta | None:
        """Estimate the remaining time, only while it runs. One query."""
        return self.tree().eta(at)

    def graph(self) -> graph.Graph:
        """Return the dependency graph of this subtree's leaves as ``TreeNode``s. One query."""
        return graph.dependencies(self.tree())

    def failures(self) -> StatusQuerySet:
        """Return the leaves of this subtree that failed, those that prevented others first."""
        failed = self._leaves().filter(phase=Phase.FAILED)
        return failed.order_by("allow_failure", "settled_at", "lft")

    # MPTT's methods, where gaps would mislead its arithmetic.

    def get_descendant_count(self) -> int:
        """Return the number of nodes below this one. One query."""
        if self.pk is None:
            return 0
        subtree = type(self).objects.filter(within(self.pk, self.tree_id))
        return subtree.exclude(pk=self.pk).count()

    def is_leaf_node(self) -> bool:
        """Return whether this node has no children to look for."""
        return not self.is_container

    def get_leafnodes(self, include_self: bool = False) -> models.QuerySet[Self]:
        """Return the nodes of this subtree that have no children."""
        descendants = self.get_descendants(include_self=include_self)
        children = type(self).objects.order_by().filter(parent=models.OuterRef("pk"))
        return descendants.exclude(models.Exists(children))

    def insert_at(self, *args: object, **kwargs: object) -> None:
        """Refuse: set ``parent`` on a new node instead."""
        raise TreeOperationRefused("Set the parent of a new node, and save it.")

    def move_to(self, *args: object, **kwargs: object) -> None:
        """Refuse: nodes stay where they were submitted."""
        raise TreeOperationRefused("A node stays in the place where it was submitted.")
