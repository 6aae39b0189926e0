"""Filter backends of Django REST Framework, which keep users apart in the API's lists.

A site replaces them by ``USER_WORKFLOWS_STATUS_FILTERS`` and ``USER_WORKFLOWS_ARTIFACT_FILTERS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from django.db.models import Model
from rest_framework.filters import BaseFilterBackend

from .models import UserTaskArtifact, UserTaskStatus
from .permissions import sees_all

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request
    from rest_framework.views import APIView

M = TypeVar("M", bound=Model)
Row = TypeVar("Row")


class StatusFilterBackend(BaseFilterBackend):
    """Own workflows only; all for superusers and for staff who may view them."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[M, Row], view: APIView
    ) -> QuerySet[M, Row]:
        if sees_all(request.user, UserTaskStatus):
            return queryset
        return queryset.filter(user=request.user)


class ArtifactFilterBackend(BaseFilterBackend):
    """Artifacts of own workflows only; all for superusers and for staff who may view them."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[M, Row], view: APIView
    ) -> QuerySet[M, Row]:
        if sees_all(request.user, UserTaskArtifact):
            return queryset
        return queryset.filter(status__user=request.user)
