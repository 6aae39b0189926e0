"""The Django app."""

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class UserWorkflowsConfig(AppConfig):
    """The app, which connects itself to Celery when Django starts."""

    name = "user_workflows"
    verbose_name = _("User workflows")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Patch Celery and connect the receivers of its signals."""
        from . import signals  # noqa: F401
        from .queues.celery import patches

        patches.install()

        if apps.is_installed("drf_spectacular"):
            from . import openapi  # noqa: F401


def __getattr__(name: str) -> type[AppConfig]:
    """Its name in django-user-tasks; as a second class here Django would not know which to take."""
    if name == "UserTasksConfig":
        return UserWorkflowsConfig
    raise AttributeError(name)
