"""The REST API: views on statuses and artifacts."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import networkx as nx
from django.apps import apps
from django.db import IntegrityError, models
from django.http import HttpResponse, StreamingHttpResponse
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.filters import BaseFilterBackend, OrderingFilter, SearchFilter
from rest_framework.request import Request
from rest_framework.response import Response

from . import serializers
from .conf import settings
from .maintenance.deletion import delete_workflow
from .models import UserTaskArtifact, UserTaskStatus
from .permissions import WorkflowPermission
from .phases import Phase
from .reports import archives, graph_formats, tree_json
from .reports.failures import failure_report
from .reports.paths import Paths
from .tree.managers import ArtifactQuerySet

M = TypeVar("M", bound=models.Model)

#: The most levels, children of each container, and failures that one answer shows.
MAX_DEPTH, MAX_CHILDREN, MAX_FAILURES = 20, 500, 100

#: Its name in django-user-tasks.
DjangoObjectPermissionsIncludingView = WorkflowPermission


class Conflict(APIException):
    """The request cannot be fulfilled for this workflow, or not now."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class _ScopedViewSet(viewsets.ReadOnlyModelViewSet[M]):
    """Views whose lists and look-ups hide what the site's filters keep from the user."""

    lookup_field = "uuid"
    lookup_value_regex = "[0-9a-fA-F-]{32,36}"
    permission_classes = (WorkflowPermission,)
    scopes: str
    """The setting that has the site's own filters."""
    filterset: str
    """The class in ``filtersets`` that has the filters by field."""

    def handle_exception(self, exc: Exception) -> Response:
        """Answer 404 for a node that is deleted while it is looked at."""
        gone = isinstance(exc, UserTaskStatus.DoesNotExist)
        return super().handle_exception(NotFound() if gone else exc)

    @property
    def filter_backends(self) -> Sequence[type[BaseFilterBackend]]:  # type: ignore[override]
        """The site's own filters, and in lists those that search and order."""
        found: list[type[BaseFilterBackend]] = list(getattr(settings, self.scopes))
        if not self.detail:
            finders = [SearchFilter, OrderingFilter]
            if apps.is_installed("django_filters"):
                from django_filters.rest_framework import DjangoFilterBackend

                finders.append(DjangoFilterBackend)
            found += [finder for finder in finders if finder not in found]
        return found

    @property
    def filterset_class(self) -> object:
        """The filters by field, for sites that have django-filter."""
        from . import filtersets

        return getattr(filtersets, self.filterset)


class StatusViewSet(mixins.DestroyModelMixin, _ScopedViewSet[UserTaskStatus]):
    """The workflows of a user, and each node in them.

    A list has whole workflows only, as they are stored, newest first; with ``all=1`` each node.
    """

    scopes, filterset = "STATUS_FILTERS", "StatusFilterSet"
    queryset = UserTaskStatus.objects.order_by("-created", "-pk")
    serializer_class = serializers.StatusSerializer
    search_fields = ("name", "subject")
    ordering_fields = ("created", "modified", "name", "settled_at", "phase")

    def get_queryset(self) -> models.QuerySet[UserTaskStatus]:
        """Return the nodes of this request, with all that the serializer shows of them."""
        nodes: models.QuerySet[UserTaskStatus] = super().get_queryset()
        if self.action == "list":
            # Their texts may be large, and are not shown.
            artifacts = UserTaskArtifact.objects.only("uuid", "status_id")
            nodes = nodes.prefetch_related(models.Prefetch("artifacts", artifacts))
            if self.request.query_params.get("all", "0") in ("", "0", "false"):
                nodes = nodes.filter(parent__isnull=True)
            else:
                tops = UserTaskStatus.objects.filter(pk=models.OuterRef("tree_id")).order_by()
                nodes = nodes.annotate(root_uuid=models.Subquery(tops.values("uuid")))
                nodes = nodes.select_related("parent")
        return nodes

    def retrieve(self, request: Request, *args: object, **kwargs: object) -> Response:
        """Return one node, with sums as of now."""
        node = self.get_object()
        if node.is_container:
            live = node.tree()
            node.apply_row(completed_steps=live.completed_steps, total_steps=live.total_steps)
        return Response(self.get_serializer(node).data)

    def perform_destroy(self, instance: UserTaskStatus) -> None:
        """Delete a whole workflow with its artifacts; cancel it first if it is open."""
        if instance.parent_id is not None:
            raise Conflict("Only a whole workflow can be deleted, not a part of one.")
        try:
            delete_workflow(instance)
        except (models.ProtectedError, models.RestrictedError) as error:
            raise Conflict("Something else on this site needs this workflow.") from error
        except IntegrityError:
            raise Conflict("Tasks of this workflow are still at work; try again.") from None

    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, *args: object, **kwargs: object) -> Response:
        """Cancel a node and all below it; with ``force`` terminate running tasks.

        The answer is the node; its ``canceled`` says how many tasks never start, how many were
        asked to stop and how many had finished.
        """
        node = self.get_object()
        data = request.data if isinstance(request.data, dict) else {}
        force = str(data.get("force", "")).lower() in ("1", "true", "on")
        canceled = serializers.CancellationSerializer(node.cancel(force=force)).data
        node.refresh_from_db()
        return Response({**self.get_serializer(node).data, "canceled": canceled})

    @action(detail=True)
    def tree(self, request: Request, *args: object, **kwargs: object) -> HttpResponse:
        """Return the subtree of a node, nested, or with ``since`` only what has changed.

        ``since`` is the ``version`` of an earlier answer. A request with the ``ETag`` of an
        unchanged tree is answered by 304 without reading the tree: one query, two while it is open.
        """
        node = self.get_object()
        since, limits = self._since(), self._limits()
        # Since any version of this state nothing has changed.
        asked = request.query_params.urlencode() if since is None else "since"
        content = json.dumps([str(node.uuid), *tree_json.fingerprint(node), asked])
        tag = f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
        if tag in request.headers.get("If-None-Match", ""):
            return HttpResponse(status=304, headers={"ETag": tag})
        try:
            answer = tree_json.tree_json(node, limits, since)
        except ValueError:
            raise ValidationError({"after": "This is no child of the node."}) from None
        return Response(answer, headers={"ETag": tag})

    @action(detail=True)
    def artifacts(self, request: Request, *args: object, **kwargs: object) -> Response:
        """Return what the tasks of a subtree have left, in tree order; each with its ``path``."""
        node = self.get_object()
        found = node.subtree_artifacts(request.query_params.get("name")).select_related("status")
        if phases := self._phases():
            found = found.filter(status__phase__in=phases)
        page: Sequence[UserTaskArtifact] | None = self.paginate_queryset(found)  # type: ignore[arg-type]
        rows: Sequence[UserTaskArtifact] | ArtifactQuerySet = found if page is None else page
        context = {**self.get_serializer_context(), "paths": Paths(node)}
        shown = serializers.PlacedArtifactSerializer(rows, many=True, context=context).data
        return Response(shown) if page is None else self.get_paginated_response(shown)

    @action(detail=True, url_path=r"artifacts\.zip", url_name="archive")
    def archive(self, request: Request, *args: object, **kwargs: object) -> StreamingHttpResponse:
        """Return all artifacts in one archive, made while it is sent, with a manifest."""
        return archives.zip_response(self.get_object())

    @action(detail=True)
    def failures(self, request: Request, *args: object, **kwargs: object) -> Response:
        """Return the tasks that failed, with their messages and what they prevented."""
        found = failure_report(self.get_object(), MAX_FAILURES)
        return Response({**serializers.FailuresSerializer(found).data})

    @action(detail=True)
    def graph(self, request: Request, *args: object, **kwargs: object) -> HttpResponse:
        """Return which task waits for which: ``as=node-link`` (JSON), ``mermaid`` or ``dot``."""
        kind = request.query_params.get("as", "node-link")
        graph = graph_formats.plain_graph(self.get_object().graph())
        if kind == "node-link":
            return Response(nx.node_link_data(graph, edges="edges"))
        draw = {"mermaid": graph_formats.mermaid, "dot": graph_formats.dot}.get(kind)
        if draw is None:
            raise ValidationError({"as": "One of node-link, mermaid, dot."})
        return HttpResponse(draw(graph), content_type="text/plain; charset=utf-8")

    def _limits(self) -> tree_json.TreeLimits:
        after = self.request.query_params.get("after")
        try:
            child = UUID(after) if after else None
        except ValueError:
            raise ValidationError({"after": "The uuid of a child of this node."}) from None
        depth = self._number("depth", 3, MAX_DEPTH)
        children = self._number("children", 50, MAX_CHILDREN)
        return tree_json.TreeLimits(depth, children, self._phases(), child)

    def _number(self, name: str, default: int, most: int) -> int:
        given = self.request.query_params.get(name, str(default))
        if not (given.isascii() and given.isdigit() and len(given) < 10):
            raise ValidationError({name: f"A number from 0 to {most}."})
        return min(int(given), most)

    def _phases(self) -> frozenset[Phase]:
        given = self.request.query_params.get("phase", "")
        try:
            return frozenset(Phase(phase.strip().upper()) for phase in given.split(",") if phase)
        except ValueError:
            raise ValidationError({"phase": f"Of {', '.join(Phase.values)}."}) from None

    def _since(self) -> datetime | None:
        given = self.request.query_params.get("since")
        try:
            return tree_json.parse_version(given) if given is not None else None
        except ValueError:
            raise ValidationError({"since": "The version of an earlier answer."}) from None


class ArtifactViewSet(_ScopedViewSet[UserTaskArtifact]):
    """All artifacts that a user may see."""

    scopes, filterset = "ARTIFACT_FILTERS", "ArtifactFilterSet"
    queryset = UserTaskArtifact.objects.select_related("status").order_by("pk")
    serializer_class = serializers.ArtifactSerializer
    search_fields = ("name",)
    ordering_fields = ("created", "name")
