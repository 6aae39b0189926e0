"""Filters by field, for sites that have django-filter installed."""

from typing import ClassVar

from django_filters import rest_framework as filters

from .models import UserTaskArtifact, UserTaskStatus
from .phases import Phase


class StatusFilterSet(filters.FilterSet):
    """``?phase=FAILED&phase=PARTIAL&action=course.export&created_after=2026-01-31``."""

    phase = filters.MultipleChoiceFilter(choices=Phase.choices)
    created = filters.IsoDateTimeFromToRangeFilter()

    class Meta:
        model = UserTaskStatus
        fields: ClassVar[list[str]] = ["phase", "action", "subject", "task_class", "created"]


class ArtifactFilterSet(filters.FilterSet):
    """``?name=Course+archive``."""

    class Meta:
        model = UserTaskArtifact
        fields: ClassVar[list[str]] = ["name"]
