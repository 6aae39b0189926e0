"""The API's OpenAPI description, for sites that have drf-spectacular installed."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from .phases import NodeType, Phase
from .serializers import ArtifactSerializer, StatusSerializer


class CountsField(serializers.DictField):
    """Leaves by phase."""

    child = serializers.IntegerField()


class NodeSerializer(serializers.Serializer[Any]):
    """A node of a tree."""

    uuid = serializers.UUIDField()
    parent: Any = serializers.UUIDField(allow_null=True)
    node_type = serializers.ChoiceField(choices=NodeType.choices)
    name = serializers.CharField()
    task_class = serializers.CharField()
    phase = serializers.ChoiceField(choices=Phase.choices)
    state = serializers.CharField()
    completed_steps = serializers.IntegerField()
    total_steps = serializers.IntegerField()
    percent = serializers.IntegerField()
    attempts = serializers.IntegerField()
    allow_failure = serializers.BooleanField()
    caused_by = serializers.UUIDField(allow_null=True)
    started = serializers.DateTimeField(allow_null=True)
    settled = serializers.DateTimeField(allow_null=True)
    last_seen = serializers.DateTimeField(allow_null=True)
    counts = CountsField()


class LeftOutSerializer(serializers.Serializer[Any]):
    """How many children are not shown, and after which they begin."""

    children = serializers.IntegerField()
    after = serializers.UUIDField(allow_null=True)


class OutlineSerializer(NodeSerializer):
    """A node with its children, each of the same shape."""

    children = serializers.ListField(child=serializers.DictField())
    left_out = LeftOutSerializer()


class TreeSerializer(serializers.Serializer[Any]):
    """``tree``, or with ``since`` ``changed`` and ``reset``."""

    version = serializers.CharField()
    settled = serializers.BooleanField()
    tree = OutlineSerializer(required=False)
    reset = serializers.BooleanField(required=False)
    changed = NodeSerializer(many=True, required=False)


class PlacedArtifactSerializer(ArtifactSerializer):
    """An artifact and the names of the nodes that lead to it."""

    path = serializers.ListField(child=serializers.CharField())

    class Meta(ArtifactSerializer.Meta):
        fields = (*ArtifactSerializer.Meta.fields, "path")


class FailureSerializer(serializers.Serializer[Any]):
    """A task that failed."""

    uuid = serializers.UUIDField()
    path = serializers.ListField(child=serializers.CharField())
    message = serializers.CharField()
    attempts = serializers.IntegerField()
    allow_failure = serializers.BooleanField()
    prevented = serializers.IntegerField()


class FailuresSerializer(serializers.Serializer[Any]):
    """All that failed: how many, and the first of them."""

    count = serializers.IntegerField()
    failures = FailureSerializer(many=True)


class CancellationSerializer(serializers.Serializer[Any]):
    """How many never start, were asked to stop, had finished."""

    pending = serializers.IntegerField()
    running = serializers.IntegerField()
    finished = serializers.IntegerField()


class CanceledSerializer(StatusSerializer):
    """A node, and what canceling it did."""

    canceled = CancellationSerializer()

    class Meta(StatusSerializer.Meta):
        fields = (*StatusSerializer.Meta.fields, "canceled")


class ForceSerializer(serializers.Serializer[Any]):
    """How to cancel."""

    force = serializers.BooleanField(required=False, help_text="Terminate running tasks")


def _query(name: str, kind: Any, text: str, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=text, **more)


_PHASE = _query("phase", str, "Phases, separated by commas")


class _StatusViews(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    target_class = "user_workflows.views.StatusViewSet"

    def view_replacement(self) -> Any:
        """The views with what they answer and take."""
        view: Any = self.target_class

        class Described(view):
            @extend_schema(parameters=[_query("all", bool, "Each node, not only whole workflows")])
            def list(self, *args: Any, **kwargs: Any) -> Any:
                return super().list(*args, **kwargs)

            @extend_schema(request=ForceSerializer, responses=CanceledSerializer)
            def cancel(self, *args: Any, **kwargs: Any) -> Any:
                return super().cancel(*args, **kwargs)

            @extend_schema(
                responses={200: TreeSerializer, 304: OpenApiResponse(description="Unchanged")},
                parameters=[
                    _query("depth", int, "Levels below the node"),
                    _query("children", int, "Children of each container"),
                    _PHASE,
                    _query("after", OpenApiTypes.UUID, "Begin behind this child"),
                    _query("since", str, "The version of an earlier answer"),
                ],
            )
            def tree(self, *args: Any, **kwargs: Any) -> Any:
                return super().tree(*args, **kwargs)

            @extend_schema(
                responses=PlacedArtifactSerializer(many=True),
                parameters=[_query("name", str, "Of this name only"), _PHASE],
            )
            def artifacts(self, *args: Any, **kwargs: Any) -> Any:
                return super().artifacts(*args, **kwargs)

            @extend_schema(responses={(200, "application/zip"): OpenApiTypes.BINARY})
            def archive(self, *args: Any, **kwargs: Any) -> Any:
                return super().archive(*args, **kwargs)

            @extend_schema(responses=FailuresSerializer)
            def failures(self, *args: Any, **kwargs: Any) -> Any:
                return super().failures(*args, **kwargs)

            @extend_schema(
                responses={
                    (200, "application/json"): OpenApiTypes.OBJECT,
                    (200, "text/plain"): OpenApiTypes.STR,
                },
                parameters=[
                    _query("as", str, "In which language", enum=["node-link", "mermaid", "dot"])
                ],
            )
            def graph(self, *args: Any, **kwargs: Any) -> Any:
                return super().graph(*args, **kwargs)

        return Described
