"""The tables: nodes and artifacts. What their methods do lives in ``tree`` and ``lifecycle``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar
from uuid import uuid4

from django.conf import settings as django_settings
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import File
from django.core.validators import URLValidator
from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from .conf import artifact_storage
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
from .tree.base import TreeModel
from .tree.managers import ArtifactQuerySet

_WEB_ADDRESS = URLValidator(schemes=["http", "https"])
_NODE_TYPES = {f"celery.{node_type.value}": node_type for node_type in NodeType}


class UserTaskStatus(TreeModel):
    """One node of a workflow: a Celery task, or the chain, group or chord around some.

    ``TreeModel`` has the columns of its place, phase and steps. Rows may be made and changed in
    the plain Django way as well: ``save()`` derives ``phase``, ``node_type`` and the place.
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

    #: Characters that are kept of a name, or of a state's text.
    MAX_NAME_LENGTH = MAX_TEXT_LENGTH

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
    state = FittingCharField(max_length=MAX_TEXT_LENGTH, default=Phase.PENDING.state)
    attempts = models.PositiveIntegerField(
        default=1, help_text=_("How often execution was attempted")
    )
    allow_failure = models.BooleanField(
        default=False, help_text=_("Whether the workflow goes on when this fails")
    )
    created = models.DateTimeField(default=now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_seen_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text=_("A worker's last heartbeat")
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

    @classmethod
    def check(cls, **kwargs: Any) -> list[CheckMessage]:
        """Do not warn that MySQL leaves out a partial index: it is meant to."""
        return [found for found in super().check(**kwargs) if found.id != "models.W037"]

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store a node that was made or changed in the plain way.

        A new node is put behind its siblings. Of an existing one only changed columns are
        written; a new ``parent`` raises TreeOperationRefused. A new terminal ``state`` takes
        effect as ``succeed()``, ``fail()`` or ``cancel()`` would have.
        """
        self.name, self.state = self.name[:MAX_TEXT_LENGTH], self.state[:MAX_TEXT_LENGTH]
        if self._state.adding:
            self._derive_columns()
            self._insert(*args, **kwargs)
        elif self._update(*args, except_for="state", **kwargs):
            transitions.change_phase(self, phase_of(self.state), self.state)

    def _derive_columns(self) -> None:
        if self.node_type == NodeType.TASK:
            default = NodeType.GROUP if self.is_container else NodeType.TASK
            self.node_type = _NODE_TYPES.get(self.task_class, default)
        self.phase = phase_of(self.state)
        self.is_container = self.is_container or self.node_type != NodeType.TASK
        if self.phase.is_terminal and self.settled_at is None:
            self.settled_at = now()

    @property
    def state_text(self) -> Any:
        """The state in the reader's language; a text set by the task as it is."""
        return self.STATE_TRANSLATIONS.get(self.state, self.state)

    def get_absolute_url(self) -> str:
        """Return the page of the workflow; for a part of one, with the way to it open.

        Raises ImproperlyConfigured if the site does not include ``user_workflows.pages.urls``.
        """
        root = self if self.parent_id is None else type(self).objects.get(pk=self.tree_id)
        try:
            page = reverse("user_workflows:detail", args=[root.uuid])
        except NoReverseMatch as error:
            raise ImproperlyConfigured(
                'Workflows have pages where the URLconf has include("user_workflows.pages.urls").'
            ) from error
        return page if self.parent_id is None else f"{page}#node-{self.uuid}"

    def subtree_artifacts(
        self, name: str | None = None, *, phase: Phase | str | None = None
    ) -> ArtifactQuerySet:
        """Return the artifacts of this node and all below it, in tree order.

        Only those of this ``name``, or of nodes in this ``phase``. Copies of a leaf's error that
        containers carry are left out.
        """
        artifacts = UserTaskArtifact.objects.below(self)
        artifacts = artifacts.exclude(name=UserTaskArtifact.ERROR, status__is_container=True)
        if name is not None:
            artifacts = artifacts.filter(name=name)
        if phase is not None:
            artifacts = artifacts.filter(status__phase=Phase(phase))
        return artifacts.order_by("status__lft", "pk")

    def start(self) -> None:
        """Mark the task as started, or raise TaskCanceledException if it was canceled before."""
        transitions.start(self)

    def increment_completed_steps(self, steps: int = 1) -> None:
        """Count ``steps`` more steps as done; the containers above count them too.

        Inside a task's body this is cheap: at most one write per 0.5 s, which also notices a
        cancellation, and raises TaskCanceledException.
        """
        progress.advance(self, completed=steps)

    def increment_total_steps(self, steps: int) -> None:
        """Add ``steps`` more steps than were known before."""
        progress.advance(self, total=steps)

    def set_state(self, custom_state: str) -> None:
        """Store what the task does now, in a text for its user: "Sending messages".

        The chains around the task show it, too, up to the next group. Raises
        TaskCanceledException if the task was canceled.
        """
        progress.set_state(self, custom_state)

    def set_name(self, name: str) -> None:
        """Rename this node, and those above it that were not named with ``name=``."""
        event = partial(transitions.rename, name=name)
        progress.write_event(self, event, name=name[:MAX_TEXT_LENGTH])

    def succeed(self) -> None:
        """Mark the task as done. Inside its body a later failure still overrules this."""
        self._decide(Phase.SUCCEEDED)

    def fail(self, message: object) -> None:
        """Mark the task as failed for this reason: a text, or data that JSON can hold.

        What waits for it will not run. The reason becomes an artifact named "Error".
        """
        text = message if isinstance(message, str) else json.dumps(message, default=str)
        self._decide(Phase.FAILED, message=text)

    def _decide(self, phase: Phase, message: str = "") -> None:
        shown = {"phase": phase, "state": phase.state} if self.phase in REPLACES[phase] else {}
        event = partial(transitions.change_phase, phase=phase, message=message)
        progress.write_event(self, event, **shown)

    def retry(self) -> None:
        """Mark the task as waiting for its next attempt."""
        transitions.change_phase(self, Phase.RETRYING)

    def cancel(self, force: bool = False) -> cancelling.Cancellation:
        """Cancel this node and all below it.

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
        """Store something for the user: a text, a file or a link, under a name they read.

        Several artifacts may have the same name. A file is copied in pieces to the storage of
        artifacts. A ``url`` that does not begin with ``http:`` or ``https:`` raises
        ValidationError. ``content_type`` is not guessed. Where the node was deleted meanwhile
        nothing is stored.
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


class UserTaskArtifact(models.Model):
    """Something a task leaves for its user: a file, a link, a text, or why it failed."""

    #: The name of artifacts that say why a node failed.
    ERROR = ERROR_ARTIFACT

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
        text = self.text if len(self.text) <= 50 else f"{self.text[:47]}..."
        content = (self.file and self.file.name) or self.url or text
        return f"<UserTaskArtifact: ({self.name}) {content}>"

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Store the artifact and, for an existing one, when it was changed."""
        if not self._state.adding:
            self.modified = now()
            if update_fields is not None:
                update_fields = {*update_fields, "modified"}
        super().save(*args, update_fields=update_fields, **kwargs)


models.signals.post_delete.connect(artifact_files.delete_with_row, sender=UserTaskArtifact)
