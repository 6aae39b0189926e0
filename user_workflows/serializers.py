"""Shapes of the REST API: all fields of django-user-tasks, and more. ``/tree/``: ``tree_json``."""

from typing import Any, ClassVar
from uuid import UUID

from rest_framework import serializers

from .lifecycle.cancellation import Cancellation
from .models import UserTaskArtifact, UserTaskStatus
from .reports.artifact_links import safe_link
from .reports.failures import Failure, FailureReport


class StatusSerializer(serializers.HyperlinkedModelSerializer[UserTaskStatus]):
    """A node. In a list only what is stored with it: ``counts`` is null there."""

    artifacts: Any = serializers.HyperlinkedRelatedField(
        many=True, read_only=True, view_name="usertaskartifact-detail", lookup_field="uuid"
    )
    state_text = serializers.CharField(read_only=True, help_text="In the reader's language")
    parent: Any = serializers.SlugRelatedField(slug_field="uuid", read_only=True, allow_null=True)
    root: Any = serializers.SerializerMethodField(
        help_text="The whole workflow that this is part of"
    )
    percent = serializers.IntegerField(read_only=True)
    counts = serializers.SerializerMethodField(help_text="How many tasks are in which phase")
    settled = serializers.DateTimeField(
        source="settled_at", read_only=True, help_text="When nothing below could run any more"
    )
    started = serializers.DateTimeField(source="started_at", read_only=True)

    class Meta:
        model = UserTaskStatus
        fields: ClassVar[tuple[str, ...]] = (
            "name", "state", "state_text", "completed_steps", "total_steps", "attempts",
            "created", "modified", "artifacts",
            "uuid", "parent", "root", "node_type", "task_class", "action", "subject", "phase",
            "percent", "counts", "started", "settled",
        )  # fmt: skip

    def get_root(self, status: UserTaskStatus) -> UUID:
        """Return the UUID of the root. One query, unless the queryset is annotated with it."""
        if status.parent_id is None:
            return status.uuid
        found: UUID | None = getattr(status, "root_uuid", None)
        uuids = UserTaskStatus.objects.values_list("uuid", flat=True)
        return found or uuids.get(pk=status.tree_id)

    def get_counts(self, status: UserTaskStatus) -> dict[str, int] | None:
        """Return the leaves by phase. One query, none in a list."""
        if isinstance(self.parent, serializers.ListSerializer):
            return None
        return {phase.value: count for phase, count in status.counts().items()}


class ArtifactSerializer(serializers.HyperlinkedModelSerializer[UserTaskArtifact]):
    """Something that a task has left."""

    file = serializers.SerializerMethodField(help_text="Where it can be had, by its storage")

    class Meta:
        model = UserTaskArtifact
        fields: ClassVar[tuple[str, ...]] = (
            "name", "created", "modified", "status", "file", "text", "url",
            "uuid", "content_type", "size",
        )  # fmt: skip
        extra_kwargs: ClassVar = {"status": {"lookup_field": "uuid"}}

    def get_file(self, artifact: UserTaskArtifact) -> str:
        """Return the storage's (signed) address, or an empty string if there is no file."""
        return artifact.file.url if artifact.file else ""

    def to_representation(self, instance: UserTaskArtifact) -> dict[str, Any]:
        """Return the artifact without links that a browser had better not follow."""
        shown = super().to_representation(instance)
        shown["url"] = safe_link(shown.get("url"))
        return shown


class PlacedArtifactSerializer(ArtifactSerializer):
    """An artifact and the names of the nodes that lead to it."""

    path = serializers.SerializerMethodField(help_text="From below the node down to the task")

    class Meta(ArtifactSerializer.Meta):
        fields = (*ArtifactSerializer.Meta.fields, "path")

    def get_path(self, artifact: UserTaskArtifact) -> list[str]:
        """Return the path, by the ``paths`` of the context."""
        return list(self.context["paths"].of(artifact.status))


class FailureSerializer(serializers.Serializer[Failure]):
    """A task that failed."""

    uuid = serializers.UUIDField()
    path = serializers.ListField(child=serializers.CharField())
    message = serializers.CharField()
    attempts = serializers.IntegerField()
    allow_failure = serializers.BooleanField()
    prevented = serializers.IntegerField()


class FailuresSerializer(serializers.Serializer[FailureReport]):
    """The number of failed tasks, and the first of them."""

    count = serializers.IntegerField()
    failures = FailureSerializer(many=True, source="shown")


class CancellationSerializer(serializers.Serializer[Cancellation]):
    """The numbers of tasks that never start, were asked to stop, had finished."""

    pending = serializers.IntegerField()
    running = serializers.IntegerField()
    finished = serializers.IntegerField()


class CanceledSerializer(StatusSerializer):
    """A node, and what canceling it did."""

    canceled = CancellationSerializer()

    class Meta(StatusSerializer.Meta):
        fields = (*StatusSerializer.Meta.fields, "canceled")
