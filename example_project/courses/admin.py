"""Courses in Django's admin."""

from django.contrib import admin

from .models import Course


@admin.register(Course)
class CourseAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The imported courses; only the title can be changed."""

    list_display = ("title", "key", "owner", "imported_at")
    readonly_fields = ("owner", "key", "source", "imported_at")
