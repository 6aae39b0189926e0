"""What the API says of statuses and artifacts: all that django-user-tasks says, and more."""

from __future__ import annotations

from typing import Any, ClassVar, cast
from uuid import UUID

from rest_framework import serializers

from .models import UserTaskArtifact, UserTaskStatus
from .reports.formatting import safe_link


class StatusSerializer(serializers.HyperlinkedModelSerializer[UserTaskStatus]):
    """A node. Of a list only what is stored with it: ``counts`` is null there."""

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
        fields: ClassVar[Any] = (
            "name", "state", "state_text", "completed_steps", "total_steps", "attempts",
            "created", "modified", "artifacts",
            "uuid", "parent", "root", "node_type", "task_class", "action", "subject", "phase",
            "percent", "counts", "started", "settled",
        )  # fmt: skip

    def get_root(self, status: UserTaskStatus) -> UUID:
        """The key of the whole; where the query has not brought it, one more query."""
        if status.parent_id is None:
            return status.uuid
        found = getattr(status, "root_uuid", None)
        if found is None:
            nodes = UserTaskStatus.objects.filter(pk=status.tree_id)
            found = nodes.values_list("uuid", flat=True).get()
        return cast(UUID, found)

    def get_counts(self, status: UserTaskStatus) -> dict[str, int] | None:
        """Leaves by phase. One query, none in a list."""
        if isinstance(self.parent, serializers.ListSerializer):
            return None
        return {phase.value: count for phase, count in status.counts().items()}


class ArtifactSerializer(serializers.HyperlinkedModelSerializer[UserTaskArtifact]):
    """Something that a task has left."""

    file = serializers.SerializerMethodField(help_text="Where it can be had, by its storage")

    class Meta:
        model = UserTaskArtifact
        fields: ClassVar[Any] = (
            "name", "created", "modified", "status", "file", "text", "url",
            "uuid", "content_type", "size",
        )  # fmt: skip
        extra_kwargs: ClassVar[Any] = {"status": {"lookup_field": "uuid"}}

    def get_file(self, artifact: UserTaskArtifact) -> str:
        """The storage's (signed) address, empty if there is no file."""
        return artifact.file.url if artifact.file else ""

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Only links that a browser may follow without harm."""
        shown: dict[str, Any] = super().to_representation(instance)
        shown["url"] = safe_link(str(shown.get("url") or ""))
        return shown
