"""The Django app."""

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class UserWorkflowsConfig(AppConfig):
    """Connects the app to Celery when Django starts."""

    name = "user_workflows"
    verbose_name = _("User workflows")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connects the handlers of Celery's signals, the gate and the capture of canvases."""
        from . import signals  # noqa: F401

        if apps.is_installed("drf_spectacular"):
            from . import openapi  # noqa: F401


def __getattr__(name: str) -> type[AppConfig]:
    """Its name in django-user-tasks; as a second class here Django would not know which to take."""
    if name == "UserTasksConfig":
        return UserWorkflowsConfig
    raise AttributeError(name)
