"""Settings: read live, under their new and their old names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage, InMemoryStorage, default_storage

from user_workflows import checks
from user_workflows.conf import get_storage
from user_workflows.conf import settings as ours

MEMORY = "django.core.files.storage.InMemoryStorage"


def test_the_defaults() -> None:
    assert timedelta(days=30) == ours.MAX_AGE
    assert not ours.STRICT
    assert ours.CAPTURE
    assert ours.ARTIFACT_STORAGE is default_storage


@pytest.mark.parametrize("prefix", ["USER_WORKFLOWS_", "USER_TASKS_"])
def test_both_prefixes_are_read_live(prefix: str, settings: Any) -> None:
    setattr(settings, f"{prefix}MAX_AGE", timedelta(days=1))
    setattr(settings, f"{prefix}STRICT", True)
    setattr(settings, f"{prefix}CAPTURE", False)
    setattr(settings, f"{prefix}ARTIFACT_STORAGE", MEMORY)
    assert timedelta(days=1) == ours.MAX_AGE
    assert ours.STRICT
    assert not ours.CAPTURE
    assert isinstance(ours.ARTIFACT_STORAGE, InMemoryStorage)
    delattr(settings, f"{prefix}MAX_AGE")
    assert timedelta(days=30) == ours.MAX_AGE


def test_the_new_name_wins(settings: Any) -> None:
    settings.USER_TASKS_MAX_AGE = timedelta(days=1)
    settings.USER_WORKFLOWS_MAX_AGE = timedelta(days=2)
    assert timedelta(days=2) == ours.MAX_AGE
    assert checks.old_settings() == []


def test_an_old_name_in_use_is_noted_by_a_check(settings: Any) -> None:
    settings.USER_TASKS_MAX_AGE = timedelta(days=1)
    (message,) = checks.old_settings()
    assert "USER_TASKS_MAX_AGE" in message.msg
    assert "USER_WORKFLOWS_MAX_AGE" in message.msg


def test_a_setting_by_its_full_name_is_the_setting() -> None:
    assert ours.USER_TASKS_MAX_AGE == ours.USER_WORKFLOWS_MAX_AGE == ours.MAX_AGE
    with pytest.raises(AttributeError, match="NO_SUCH"):
        _ = ours.NO_SUCH


@pytest.mark.parametrize("alias", ["user_workflow_artifacts", "user_task_artifacts"])
def test_an_alias_among_the_sites_storages_wins(alias: str, settings: Any) -> None:
    settings.STORAGES = {**settings.STORAGES, alias: {"BACKEND": MEMORY}}
    settings.USER_WORKFLOWS_ARTIFACT_STORAGE = "django.core.files.storage.FileSystemStorage"
    assert isinstance(ours.ARTIFACT_STORAGE, InMemoryStorage)


def test_a_storage_by_its_path() -> None:
    assert isinstance(get_storage(MEMORY), InMemoryStorage)
    assert isinstance(get_storage(), FileSystemStorage | type(default_storage))


@pytest.mark.parametrize(
    ("mode", "warned"),
    [(None, True), ("DEFERRED", True), ("IMMEDIATE", False), ("EXCLUSIVE", False)],
)
def test_sqlite_without_immediate_transactions_is_warned_about(
    mode: str | None, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    options = {} if mode is None else {"transaction_mode": mode}
    fake = SimpleNamespace(vendor="sqlite", alias="default", settings_dict={"OPTIONS": options})
    monkeypatch.setattr(checks, "status_connection", lambda: fake)
    assert bool(checks.sqlite_transactions()) == warned
    fake.vendor = "postgresql"
    assert checks.sqlite_transactions() == []
