"""Settings, read live so that ``override_settings`` works.

Each ``USER_WORKFLOWS_<NAME>`` falls back to django-user-tasks' ``USER_TASKS_<NAME>``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings as django_settings
from django.core.files.storage import default_storage, storages
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from django.core.files.storage import Storage

NEW_PREFIX = "USER_WORKFLOWS_"
OLD_PREFIX = "USER_TASKS_"


def _setting(name: str, default: Any) -> Any:
    for prefix in (NEW_PREFIX, OLD_PREFIX):
        if hasattr(django_settings, prefix + name):
            return getattr(django_settings, prefix + name)
    return default


def get_storage(import_path: str | None = None) -> Storage:
    """The storage of artifact files.

    The alias ``user_workflow_artifacts`` (or ``user_task_artifacts``) of Django's ``STORAGES``
    if there is one, else an instance of the class at ``import_path``, else the default storage.
    """
    configured = getattr(settings, "STORAGES", None) or django_settings.STORAGES
    for alias in ("user_workflow_artifacts", "user_task_artifacts"):
        if alias in configured:
            return storages[alias]
    if import_path:
        return cast("Storage", import_string(import_path)())
    return default_storage


def artifact_storage() -> Storage:
    """The storage of artifact files under the current settings."""
    return get_storage(_setting("ARTIFACT_STORAGE", None))


def _classes(given: Any) -> tuple[Any, ...]:
    """Classes, or their import paths: django-user-tasks took classes only."""
    return tuple(import_string(each) if isinstance(each, str) else each for each in given)


class Settings:
    """The settings of this app as attributes, each under its new and its old name."""

    @property
    def ARTIFACT_STORAGE(self) -> Storage:
        """Storage of artifact files: the import path of a storage class."""
        return artifact_storage()

    @property
    def MAX_AGE(self) -> timedelta:
        """Age at which ``purge_old_user_tasks`` deletes a workflow (default: 30 days)."""
        return cast(timedelta, _setting("MAX_AGE", timedelta(days=30)))

    @property
    def STATUS_FILTERS(self) -> tuple[Any, ...]:
        """Filter backends that keep the API's users apart (default: own workflows only)."""
        default = ("user_workflows.filters.StatusFilterBackend",)
        return _classes(_setting("STATUS_FILTERS", default))

    @property
    def ARTIFACT_FILTERS(self) -> tuple[Any, ...]:
        """The same for lists of artifacts."""
        default = ("user_workflows.filters.ArtifactFilterBackend",)
        return _classes(_setting("ARTIFACT_FILTERS", default))

    @property
    def STRICT(self) -> bool:
        """Raise, instead of log, where a user task is sent without a valid user (default: no)."""
        return bool(_setting("STRICT", False))

    @property
    def CAPTURE(self) -> bool:
        """Capture canvases of user tasks sent without ``workflow()`` as trees (default: yes)."""
        return bool(_setting("CAPTURE", True))

    @property
    def KEEP_CONNECTION(self) -> bool:
        """Keep a database connection in each process of a prefork pool (default: yes)."""
        return bool(_setting("KEEP_CONNECTION", True))

    @property
    def LOST_AFTER(self) -> timedelta:
        """How long a running task may give no sign of life (default: 5 minutes).

        A task that the broker will deliver again is given the broker's visibility timeout more.
        """
        return cast(timedelta, _setting("LOST_AFTER", timedelta(minutes=5)))

    @property
    def MESSAGE_LOST_AFTER(self) -> timedelta | None:
        """How long after its turn a task that no worker took is failed (default: never)."""
        return cast("timedelta | None", _setting("MESSAGE_LOST_AFTER", None))

    def __getattr__(self, name: str) -> Any:
        for prefix in (NEW_PREFIX, OLD_PREFIX):
            if name.startswith(prefix):
                return getattr(self, name.removeprefix(prefix))
        raise AttributeError(name)


settings = Settings()
#: Its class's name in django-user-tasks.
LazySettings = Settings
