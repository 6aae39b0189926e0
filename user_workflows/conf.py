"""Settings, read live so that ``override_settings`` works.

Each ``USER_WORKFLOWS_<NAME>`` falls back to django-user-tasks' ``USER_TASKS_<NAME>``.
"""

from datetime import timedelta
from typing import Any, TypeVar

from django.conf import settings as django_settings
from django.core.files.storage import Storage, default_storage, storages
from django.utils.module_loading import import_string

T = TypeVar("T")

NEW_PREFIX = "USER_WORKFLOWS_"
OLD_PREFIX = "USER_TASKS_"


def _setting(name: str, default: T) -> T:
    old: T = getattr(django_settings, OLD_PREFIX + name, default)
    value: T = getattr(django_settings, NEW_PREFIX + name, old)
    return value


def get_storage(import_path: str | None = None) -> Storage:
    """Return the storage of artifact files.

    It is the alias ``user_workflow_artifacts`` (or ``user_task_artifacts``) of Django's
    ``STORAGES``, else an instance of the class at ``import_path``, else the default storage.
    """
    for alias in ("user_workflow_artifacts", "user_task_artifacts"):
        if alias in django_settings.STORAGES:
            return storages[alias]
    if import_path:
        storage: Storage = import_string(import_path)()
        return storage
    return default_storage


def artifact_storage() -> Storage:
    """Return the storage of artifact files under the current settings."""
    return get_storage(_setting("ARTIFACT_STORAGE", None))


def _filters(name: str, default: str) -> tuple[type[Any], ...]:
    # django-user-tasks took classes only, not their import paths.
    given = _setting(name, (f"user_workflows.filters.{default}",))
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
        return _setting("MAX_AGE", timedelta(days=30))

    @property
    def STATUS_FILTERS(self) -> tuple[type[Any], ...]:
        """Filter backends of the API for statuses (default: own workflows only)."""
        return _filters("STATUS_FILTERS", "StatusFilterBackend")

    @property
    def ARTIFACT_FILTERS(self) -> tuple[type[Any], ...]:
        """Filter backends of the API for artifacts (default: those of own workflows only)."""
        return _filters("ARTIFACT_FILTERS", "ArtifactFilterBackend")

    @property
    def STRICT(self) -> bool:
        """Raise an error, not only log it, for a user task without a valid user (default: no)."""
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
        """Time without a heartbeat after which a running task is lost (default: 5 minutes).

        A task that the broker will deliver again is given the broker's visibility timeout more.
        """
        return _setting("LOST_AFTER", timedelta(minutes=5))

    @property
    def MESSAGE_LOST_AFTER(self) -> timedelta | None:
        """Time after its turn when a task that no worker took is failed (default: never)."""
        return _setting("MESSAGE_LOST_AFTER", None)

    def __getattr__(self, name: str) -> Any:
        for prefix in (NEW_PREFIX, OLD_PREFIX):
            if name.startswith(prefix):
                return getattr(self, name.removeprefix(prefix))
        raise AttributeError(name)


settings = Settings()
#: The name of the class in django-user-tasks.
LazySettings = Settings
