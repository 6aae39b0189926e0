"""Courses in Django's admin."""

from django.contrib import admin

from .models import Course


@admin.register(Course)
class CourseAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows the courses that were imported."""

    list_display = ("title", "key", "owner", "imported_at")
    readonly_fields = ("owner", "key", "source", "imported_at")
