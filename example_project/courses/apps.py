"""The Django app of the courses."""

from django.apps import AppConfig


class CoursesConfig(AppConfig):
    """Courses, exported and imported as workflows."""

    name = "courses"
    default_auto_field = "django.db.models.BigAutoField"
