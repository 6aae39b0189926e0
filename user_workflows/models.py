"""The nodes of workflow trees and the artifacts that tasks leave for their users.

The methods here are thin: what they do lives in ``progress``, ``rollup``, ``cancel``, ``trees``
and ``graph``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self
from uuid import uuid4

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import File
from django.core.validators import URLValidator
from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from . import graph as graphs
from .conf import artifact_storage
from .db.connections import status_atomic, status_connection
from .db.timestamps import restamp_if_slow
from .exceptions import TreeOperationRefused
from .fields import (
    ERROR_ARTIFACT,
    MAX_TEXT_LENGTH,
    FittingCharField,
    FittingTextField,
    UserForeignKey,
    storable,
)
from .lifecycle import artifact_files, progress, transitions
from .lifecycle import cancellation as cancelling
from .phases import REPLACES, NodeType, Phase, phase_of
from .tree.bounds import NODE_GAP, within
from .tree.locking import tree_lock
from .tree.managers import StatusManager
from .tree.nodes import TreeNode, percent, read_tree
from .tree.slots import allocate_slot

if TYPE_CHECKING:
    from django.db.models import ForeignKey as TreeForeignKey

    from .lifecycle.cancellation import Cancellation

    class MPTTModel(models.Model):
        """What is used of MPTT's, which has no types."""

        def get_ancestors(
            self, ascending: bool = False, include_self: bool = False
        ) -> models.QuerySet[Self]: ...
        def get_descendants(self, include_self: bool = False) -> models.QuerySet[Self]: ...

        class Meta:
            abstract = True
else:
    from mptt.models import MPTTModel, TreeForeignKey

_WEB_ADDRESS = URLValidator(schemes=["http", "https"])
_NODE_TYPES = {f"celery.{node_type.value}": node_type for node_type in NodeType}


class UserTaskStatus(MPTTModel):
    """One node of a workflow: a Celery task, or the chain, group or chord around some.

    Rows may be made and changed in the plain Django way as well: ``save()`` derives ``phase``,
    ``node_type`` and the tree fields, and writes only the columns that were changed.
    """

    PENDING = Phase.PENDING.state
    IN_PROGRESS = Phase.RUNNING.state
    RETRYING = Phase.RETRYING.state
    SUCCEEDED = Phase.SUCCEEDED.state
    PARTIAL = Phase.PARTIAL.state
    FAILED = Phase.FAILED.state
    CANCELED = Phase.CANCELED.state
    SKIPPED = Phase.SKIPPED.state

    STATE_TRANSLATIONS: ClassVar = {phase.state: phase.label for phase in Phase}

    uuid = models.UUIDField(
        default=uuid4, unique=True, editable=False, help_text=_("Unique ID for use in APIs")
    )
    user = UserForeignKey(
        django_settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        db_index=False,  # Two of the indexes below begin with it.
        help_text=_("The user who started the workflow"),
    )
    task_id = models.CharField(max_length=128, help_text=_("ID of the Celery task"))
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
    task_class = FittingCharField(max_length=255, help_text=_("Registered name of the task"))
    name = FittingCharField(
        max_length=MAX_TEXT_LENGTH,
        help_text=_("A name that the user who started it will understand"),
    )
    is_named = models.BooleanField(
        default=False, editable=False, help_text=_("Whether set_name() leaves the name alone")
    )
    action = FittingCharField(
        max_length=128, blank=True, default="", help_text=_("Kind of operation: course.export")
    )
    subject = FittingCharField(
        max_length=255, blank=True, default="", help_text=_("What the operation is about")
    )
    phase = models.CharField(
        max_length=16,
        choices=Phase.choices,
        default=Phase.PENDING,
        editable=False,
    )
    state = FittingCharField(max_length=MAX_TEXT_LENGTH, default=Phase.PENDING.state)
    completed_steps = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField()
    attempts = models.PositiveIntegerField(
        default=1, help_text=_("How often execution was attempted")
    )
    allow_failure = models.BooleanField(
        default=False, help_text=_("Whether the workflow goes on when this fails")
    )
    created = models.DateTimeField(default=now, editable=False)
    modified = models.DateTimeField(default=now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True, editable=False)
    settled_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text=_("Since when nothing here can run any more"),
    )
    last_seen_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text=_("A worker's last sign of life")
    )
    ended_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text=_("Since when a task with tasks below it has ended itself"),
    )
    replaced_nesting = models.PositiveSmallIntegerField(
        default=0,
        editable=False,
        help_text=_("How often the task that had this task ID before was replaced"),
    )
    caused_by = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        db_constraint=False,
        related_name="+",
        help_text=_("The task whose failure or cancellation decided this node"),
    )
    rolled_up_at = models.DateTimeField(null=True, blank=True, editable=False)
    finished_sent_at = models.DateTimeField(null=True, blank=True, editable=False)
    rerun_of = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="reruns",
    )

    tree_id = models.BigIntegerField(editable=False)
    lft = models.BigIntegerField(editable=False)
    rght = models.BigIntegerField(editable=False)
    level = models.PositiveIntegerField(editable=False)

    objects = StatusManager()

    #: What Celery's ``apply_async`` returned, on the root that ``Workflow.delay()`` returns.
    result: Any = None

    class Meta:
        verbose_name = _("user task status")
        verbose_name_plural = _("user task statuses")
        permissions: ClassVar = [("cancel_usertaskstatus", _("Can cancel user tasks"))]
        constraints: ClassVar = [
            # Not ``unique=True``: that would add a pattern index on PostgreSQL, 20 MB per
            # 222,000 rows, which no query uses.
            models.UniqueConstraint(fields=["task_id"], name="user_workflows_unique_task_id"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tree_id", "lft"], name="user_workflows_tree"),
            models.Index(fields=["user", "-created"], name="user_workflows_user_created"),
            models.Index(fields=["user", "action", "subject"], name="user_workflows_action"),
            # For children, and for the roots that are not finished: a few among very many. An
            # index on ``settled_at`` would make each end of a leaf change all indexes.
            models.Index(fields=["parent", "finished_sent_at"], name="user_workflows_unfinished"),
            # Of lists: without it a page's count reads the roots of all users. MySQL and MariaDB
            # have no partial indexes and do without.
            models.Index(
                fields=["user", "-created"],
                condition=models.Q(parent__isnull=True),
                name="user_workflows_roots",
            ),
        ]

    def __str__(self) -> str:
        return f"<UserTaskStatus: {self.name}>"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stored: dict[str, Any] = {}

    @classmethod
    def check(cls, **kwargs: Any) -> list[Any]:
        """Does not warn that MySQL leaves out a partial index: it is meant to."""
        return [found for found in super().check(**kwargs) if found.id != "models.W037"]

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any, **more: Any) -> UserTaskStatus:
        """Remembers what was read, so that ``save()`` can tell what changed."""
        instance: UserTaskStatus = super().from_db(db, field_names, values, **more)
        instance.note_stored()
        return instance

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """Reads the row, or some columns of it, and forgets what was changed in them."""
        super().refresh_from_db(*args, **kwargs)
        fields = kwargs.get("fields", args[1] if len(args) > 1 else None)
        current = self._columns()
        if fields is not None:
            read = {
                f.attname for f in self._meta.concrete_fields if {f.name, f.attname} & {*fields}
            }
            current = {name: value for name, value in current.items() if name in read}
        self._stored.update(current)

    # -- saving ---------------------------------------------------------------------------------

    def _columns(self) -> dict[str, Any]:
        deferred = self.get_deferred_fields()
        names = (f.attname for f in self._meta.concrete_fields)
        return {name: self.__dict__[name] for name in names if name not in deferred}

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Stores a node made or changed in the plain way.

        A new node is put behind its siblings. Of an existing one only changed columns are
        written. A new terminal ``state`` takes effect as ``succeed()``, ``fail()`` or
        ``cancel()`` would have.

        Raises:
            TreeOperationRefused: the node's ``parent`` was changed.
        """
        self.name, self.state = self.name[:MAX_TEXT_LENGTH], self.state[:MAX_TEXT_LENGTH]
        if self._state.adding:
            self._insert(*args, **kwargs)
        else:
            self._update(*args, **kwargs)

    def _insert(self, *args: Any, **kwargs: Any) -> None:
        if self.node_type == NodeType.TASK:
            default = NodeType.GROUP if self.is_container else NodeType.TASK
            self.node_type = _NODE_TYPES.get(self.task_class, default)
        self.phase = phase_of(self.state)
        self.is_container = self.is_container or self.node_type != NodeType.TASK
        if self.phase.is_terminal and self.settled_at is None:
            self.settled_at = now()
        if self.parent_id is None:
            with status_atomic():
                self.level, self.lft, self.rght, self.tree_id = 0, 1, 1 + NODE_GAP, 0
                super().save(*args, **kwargs)
                self.tree_id = self.pk
                type(self).objects.filter(pk=self.pk).update(tree_id=self.pk)
        else:
            parents = type(self).objects.filter(pk=self.parent_id)
            with tree_lock(parents.values_list("tree_id", flat=True).get()):
                room = allocate_slot(self.parent_id)
                self.tree_id, self.level = room.tree_id, room.level
                self.lft, self.rght = room.lft, room.lft + room.gap
                super().save(*args, **kwargs)
                parents.filter(is_container=False).update(is_container=True)
        self.note_stored()

    def _update(self, *args: Any, **kwargs: Any) -> None:
        current = self._columns()
        changed = {name for name, value in current.items() if value != self._stored.get(name)}
        if "parent_id" in changed:
            raise TreeOperationRefused("A node stays in the place where it was submitted.")
        if kwargs.get("update_fields") is not None:
            named = set(kwargs["update_fields"])
            fields = self._meta.concrete_fields
            changed &= {f.attname for f in fields if {f.name, f.attname} & named}
        outcome = None
        if "state" in changed:
            changed.discard("state")
            outcome = phase_of(self.state)
        if changed:
            self.modified = now()
            super().save(*args[:3], **{**kwargs, "update_fields": {*changed, "modified"}})
            using = status_connection().alias
            restamp_if_slow(self.modified, self.modified, using, pk=self.pk)
        self._stored.update({name: current[name] for name in changed})
        if outcome is not None:
            transitions.change_phase(self, outcome, self.state)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Deletes the node and all below it; the gap it leaves harms nothing.

        Under the tree's lock, so that nothing grows there meanwhile.
        """
        with tree_lock(self.tree_id):
            return models.Model.delete(self, *args, **kwargs)

    # -- reading --------------------------------------------------------------------------------

    @property
    def state_text(self) -> Any:
        """The state in the reader's language; a text set by the task as it is."""
        return self.STATE_TRANSLATIONS.get(self.state, self.state)

    @property
    def is_settled(self) -> bool:
        """Whether nothing in this subtree can run any more."""
        return self.settled_at is not None

    @property
    def is_active(self) -> bool:
        """Whether something in this subtree still runs, or will."""
        return self.settled_at is None

    @property
    def percent(self) -> int:
        """Completed steps of 100, from the stored columns."""
        return percent(self.completed_steps, self.total_steps)

    def tree(self) -> TreeNode:
        """This node and all below it, nested, with sums and counts as of now. One query."""
        node = read_tree(self.tree_id, self.pk)
        if node is None:
            raise type(self).DoesNotExist("This node was deleted.")
        return node

    def counts(self) -> Counter[Phase]:
        """How many leaves of this subtree are in which phase. One query."""
        leaves = type(self).objects.filter(self._subtree(), node_type=NodeType.TASK)
        rows = leaves.order_by().values_list("phase").annotate(models.Count("pk"))
        return Counter({Phase(phase): count for phase, count in rows})

    def eta(self, at: datetime | None = None) -> timedelta | None:
        """The time left as far as one can tell, only while it runs. One query."""
        return self.tree().eta(at)

    def get_absolute_url(self) -> str:
        """The page of the workflow; for a part of one, with the way to it open.

        Raises:
            ImproperlyConfigured: the site does not include ``user_workflows.pages.urls``.
        """
        root = self.uuid
        if self.parent_id is not None:
            tops = type(self).objects.filter(pk=self.tree_id)
            root = tops.values_list("uuid", flat=True).get()
        try:
            page = reverse("user_workflows:detail", args=[root])
        except NoReverseMatch as error:
            raise ImproperlyConfigured(
                'Workflows have pages where the URLconf has include("user_workflows.pages.urls").'
            ) from error
        return page if self.parent_id is None else f"{page}#node-{self.uuid}"

    def graph(self) -> graphs.Graph:
        """The dependency graph of this subtree's leaves as ``TreeNode``s. One query."""
        return graphs.dependencies(self.tree())

    def failures(self) -> models.QuerySet[UserTaskStatus]:
        """The leaves of this subtree that failed, the ones that prevented others first."""
        failed = type(self).objects.filter(
            self._subtree(), node_type=NodeType.TASK, phase=Phase.FAILED
        )
        ordered: models.QuerySet[UserTaskStatus] = failed.order_by(
            "allow_failure", "settled_at", "lft"
        )
        return ordered

    def subtree_artifacts(
        self, name: str | None = None, *, phase: Phase | str | None = None
    ) -> ArtifactQuerySet:
        """The artifacts of this node and all below it, in tree order.

        Copies of a leaf's error that containers carry are left out.

        Arguments:
            name: only those of this name.
            phase: only those of nodes in this phase.
        """
        artifacts = UserTaskArtifact.objects.below(self)
        artifacts = artifacts.exclude(name=ERROR_ARTIFACT, status__is_container=True)
        if name is not None:
            artifacts = artifacts.filter(name=name)
        if phase is not None:
            artifacts = artifacts.filter(status__phase=Phase(phase))
        return artifacts.order_by("status__lft", "pk")

    def _subtree(self, prefix: str = "") -> models.Q:
        return within(self.pk, self.tree_id, prefix)

    # -- MPTT's, where its arithmetic would be misled by gaps ------------------------------------

    def get_descendant_count(self) -> int:
        """How many nodes are below this one. One query: the bounds have gaps."""
        if self.pk is None:
            return 0
        below = type(self).objects.filter(self._subtree()).exclude(pk=self.pk)
        return int(below.count())

    def is_leaf_node(self) -> bool:
        """Whether this node has no children to look for."""
        return not self.is_container

    def get_leafnodes(self, include_self: bool = False) -> models.QuerySet[UserTaskStatus]:
        """The nodes of this subtree that have no children."""
        descendants = self.get_descendants(include_self=include_self)
        children = type(self).objects.order_by().filter(parent=models.OuterRef("pk"))
        nodes: models.QuerySet[UserTaskStatus] = descendants.exclude(models.Exists(children))
        return nodes

    def insert_at(self, *args: Any, **kwargs: Any) -> None:
        """Refused: set ``parent`` on a new node instead."""
        raise TreeOperationRefused("Set the parent of a new node, and save it.")

    def move_to(self, *args: Any, **kwargs: Any) -> None:
        """Refused: nodes stay where they were submitted."""
        raise TreeOperationRefused("A node stays in the place where it was submitted.")

    # -- changing -------------------------------------------------------------------------------

    def start(self) -> None:
        """Marks the task as started.

        Raises:
            TaskCanceledException: it was canceled before.
        """
        transitions.start(self)

    def increment_completed_steps(self, steps: int = 1) -> None:
        """Counts ``steps`` more steps as done; the containers above count them too.

        Inside a task's body this is cheap: writes are coalesced, at most one per 0.5 s.

        Raises:
            TaskCanceledException: the task was canceled; noticed within 0.5 s.
        """
        progress.advance(self, completed=steps)

    def increment_total_steps(self, steps: int) -> None:
        """Announces ``steps`` more steps than were known before."""
        progress.advance(self, total=steps)

    def set_state(self, custom_state: str) -> None:
        """Says what the task is doing now, in words: "Sending messages".

        The text climbs to the chains around the task and stops at a group.

        Raises:
            TaskCanceledException: the task was canceled.
        """
        progress.set_state(self, custom_state)

    def set_name(self, name: str) -> None:
        """Renames this node and those above it that the caller did not name himself."""
        progress.write_event(
            self, partial(transitions.rename, name=name), name=name[:MAX_TEXT_LENGTH]
        )

    def succeed(self) -> None:
        """Marks the task as done. Inside its body a later failure still overrules this."""
        self._decide(Phase.SUCCEEDED)

    def fail(self, message: Any) -> None:
        """Marks the task as failed for this reason: a text, or data that JSON can hold.

        What waits for it will not run. The reason becomes an artifact named "Error".
        """
        text = message if isinstance(message, str) else json.dumps(message, default=str)
        self._decide(Phase.FAILED, message=text)

    def _decide(self, phase: Phase, message: str = "") -> None:
        shown = {"phase": phase, "state": phase.state} if self.phase in REPLACES[phase] else {}
        progress.write_event(
            self, partial(transitions.change_phase, phase=phase, message=message), **shown
        )

    def retry(self) -> None:
        """Marks the task as waiting for its next attempt."""
        transitions.change_phase(self, Phase.RETRYING)

    def cancel(self, force: bool = False) -> Cancellation:
        """Cancels this node and all below it.

        What has not started will not start; what runs is asked to stop at its next progress
        call, or terminated with ``force``; what has finished stays as it is.
        """
        return cancelling.cancel(self, force=force)

    def add_artifact(
        self,
        name: str = "Output",
        *,
        text: str = "",
        file: File[Any] | None = None,
        url: str = "",
        content_type: str = "",
    ) -> UserTaskArtifact:
        """Leaves something for the user: a text, a file or a link.

        Arguments:
            name: what the user reads; several artifacts may have the same.
            text: kept in the database.
            file: copied in pieces to the storage of artifacts, under a name of its own there.
            url: an address that begins with ``http:`` or ``https:``.
            content_type: what the content is, such as ``text/csv``; nothing is guessed.

        Where the node was deleted meanwhile nothing is stored.

        Raises:
            ValidationError: ``url`` is no such address.
        """
        if url:
            _WEB_ADDRESS(url)
        artifact = UserTaskArtifact(
            status=self, name=name[:MAX_TEXT_LENGTH], text=text, url=url, content_type=content_type
        )
        if self.pk is None:
            return artifact
        if file is not None:
            artifact.size = file.size
            artifact.file.save(file.name or name, file, save=False)
        elif text:
            artifact.size = len(storable(text).encode())
        artifact.save()
        return artifact

    def note_stored(self) -> None:
        """Note that the columns of this instance are as stored."""
        self._stored = self._columns()

    def apply_row(self, **columns: Any) -> None:
        """Sets columns that were written in the database on this instance too."""
        for name, value in columns.items():
            setattr(self, name, value)
            self._stored[name] = value


class ArtifactQuerySet(models.QuerySet["UserTaskArtifact"]):
    """Queries on artifacts."""

    def below(self, node: UserTaskStatus) -> Self:
        """The artifacts of a node and of all below it, copies of errors included."""
        return self.filter(node._subtree("status__"))


class UserTaskArtifact(models.Model):
    """Something a task leaves for its user: a file, a link, a text, or why it failed."""

    uuid = models.UUIDField(
        default=uuid4, unique=True, editable=False, help_text=_("Unique ID for use in APIs")
    )
    status = models.ForeignKey(UserTaskStatus, on_delete=models.CASCADE, related_name="artifacts")
    name = FittingCharField(
        max_length=255, default="Output", help_text=_("Which of a task's artifacts this is")
    )
    file = models.FileField(
        null=True,
        blank=True,
        max_length=255,
        storage=artifact_storage,
        upload_to="user_workflows/%Y/%m/%d/",
    )
    url = models.TextField(blank=True, validators=[URLValidator()])
    text = FittingTextField(blank=True)
    content_type = models.CharField(max_length=255, blank=True, default="")
    size = models.PositiveBigIntegerField(null=True, blank=True, help_text=_("In bytes"))
    created = models.DateTimeField(default=now, editable=False)
    modified = models.DateTimeField(default=now, editable=False)

    objects = ArtifactQuerySet.as_manager()

    class Meta:
        verbose_name = _("user task artifact")
        verbose_name_plural = _("user task artifacts")

    def __str__(self) -> str:
        if self.file:
            content = self.file.name
        elif self.url:
            content = self.url
        else:
            content = self.text if len(self.text) <= 50 else f"{self.text[:47]}..."
        return f"<UserTaskArtifact: ({self.name}) {content}>"

    def save(
        self,
        *args: Any,
        update_fields: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Stores the artifact and, for an existing one, when it was changed."""
        if not self._state.adding:
            self.modified = now()
            if update_fields is not None:
                update_fields = {*update_fields, "modified"}
        super().save(*args, update_fields=update_fields, **kwargs)


models.signals.post_delete.connect(artifact_files.delete_with_row, sender=UserTaskArtifact)
