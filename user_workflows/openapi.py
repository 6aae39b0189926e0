"""The API's OpenAPI description, for sites that have drf-spectacular installed."""

from typing import Any

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
)
from rest_framework import serializers

from .reports.tree_json import TreeSerializer
from .serializers import CanceledSerializer, FailuresSerializer, PlacedArtifactSerializer


class ForceSerializer(serializers.Serializer[dict[str, bool]]):
    """The body of a request to cancel."""

    force = serializers.BooleanField(required=False, help_text="Terminate running tasks")


def _query(name: str, kind: type | OpenApiTypes, text: str, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=text, **more)


_PHASE = _query("phase", str, "Phases, separated by commas")

_describe = extend_schema_view(
    list=extend_schema(parameters=[_query("all", bool, "Each node, not only whole workflows")]),
    cancel=extend_schema(request=ForceSerializer, responses=CanceledSerializer),
    tree=extend_schema(
        responses={200: TreeSerializer, 304: OpenApiResponse(description="Unchanged")},
        parameters=[
            _query("depth", int, "Levels below the node"),
            _query("children", int, "Children of each container"),
            _PHASE,
            _query("after", OpenApiTypes.UUID, "Begin behind this child"),
            _query("since", str, "The version of an earlier answer"),
        ],
    ),
    artifacts=extend_schema(
        responses=PlacedArtifactSerializer(many=True),
        parameters=[_query("name", str, "Of this name only"), _PHASE],
    ),
    archive=extend_schema(responses={(200, "application/zip"): OpenApiTypes.BINARY}),
    failures=extend_schema(responses=FailuresSerializer),
    graph=extend_schema(
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "text/plain"): OpenApiTypes.STR,
        },
        parameters=[_query("as", str, "In which language", enum=["node-link", "mermaid", "dot"])],
    ),
)


class _StatusViews(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    target_class = "user_workflows.views.StatusViewSet"

    def view_replacement(self) -> type[Any]:
        """Return the views with a description of their parameters and answers."""
        return _describe(type("Described", (self.target,), {}))
