"""The courses that a user can choose: the academy's own, and those the user has imported."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings

from . import olx
from .models import Course

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def courses_by_key(user: User) -> dict[str, Course]:
    """Return the user's courses; an imported copy of the academy's course replaces it."""
    imported = Course.objects.filter(owner=user).order_by("title", "pk")
    sample = _sample_course()
    return {sample.key: sample, **{course.key: course for course in imported}}


@cache
def _sample_course() -> Course:
    """Return the course that ships with the example, as an unsaved record."""
    folder = settings.BASE_DIR / "sample_course"
    course = olx.read_outline(folder)
    return Course(key=course.key, title=course.title, source=str(folder))
