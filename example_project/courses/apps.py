"""The Django app."""

from django.apps import AppConfig


class CoursesConfig(AppConfig):
    """Courses, and the exporting and importing of them as workflows."""

    name = "courses"
    default_auto_field = "django.db.models.BigAutoField"
