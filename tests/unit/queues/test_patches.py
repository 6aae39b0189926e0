"""What is patched in Celery, when, and what is said of a Celery that has changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import celery
import pytest
from celery import Task, current_app, shared_task

from user_workflows import checks
from user_workflows.queues.celery import gate, patches
from user_workflows.queues.celery.patches import PATCHES

ROOT = Path(__file__).parents[3]

#: Imports each module of the app, as far as it can be imported, without ``ready()``.
IMPORTING = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
from user_workflows import apps
install = {install}
if not install:
    apps.UserWorkflowsConfig.ready = lambda self: None
import django
django.setup()
import user_workflows.signals, user_workflows.canvas, user_workflows.tasks, user_workflows.checks
from user_workflows.queues.celery.patches import PATCHES
methods = [vars(patch.owner)[patch.attribute] for patch in PATCHES]
print(*{{"/user_workflows/" in method.__code__.co_filename for method in methods}})
"""


@shared_task
def of_its_own(tag: str = "") -> None:
    """A task that a test gives a ``before_start``."""


def methods() -> list[Any]:
    return [vars(patch.owner)[patch.attribute] for patch in PATCHES]


@pytest.fixture
def unpatched() -> Iterator[None]:
    patches.uninstall()
    yield
    patches.uninstall()
    patches.install()


@pytest.mark.parametrize("install", [False, True])
def test_importing_patches_nothing_and_django_s_start_everything(install: bool) -> None:
    command = [sys.executable, "-c", IMPORTING.format(install=install)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == [str(install)]


def test_what_was_installed_is_not_installed_twice() -> None:
    before = methods()
    patches.install()
    assert methods() == before


def test_uninstalling_restores_celery_and_installing_patches_it_again(unpatched: None) -> None:
    originals = methods()
    assert {method.__module__.split(".")[0] for method in originals} == {"celery"}
    assert not any(hasattr(method, "__wrapped__") for method in originals)
    patches.install()
    assert [method.__wrapped__ for method in methods()] == originals
    patches.uninstall()
    assert methods() == originals


def test_a_task_that_was_gated_is_restored(
    unpatched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = current_app.tasks[of_its_own.name]
    calls: list[str] = []
    with monkeypatch.context() as patched:
        own = lambda *args: calls.append("own")  # noqa: E731
        patched.setattr(type(task), "before_start", own, raising=False)
        patches.install()
        assert not gate.is_gate(task.before_start)
        patches.gate_registered_tasks()
        assert gate.is_gate(task.before_start)
        task.before_start("id", (), {})
        assert calls == ["own"]
        patches.uninstall()
        assert "before_start" not in vars(task)


def test_each_wrapper_passes_on_the_parameters_that_celery_has(unpatched: None) -> None:
    for patch in PATCHES:
        original = signature(vars(patch.owner)[patch.attribute])
        assert tuple(original.parameters)[: len(patch.parameters)] == patch.parameters, patch.name
        wrapper: Any = patch.wrap(vars(patch.owner)[patch.attribute])
        own = signature(wrapper, follow_wrapped=False).parameters.values()
        named = tuple(p.name for p in own if p.kind is p.POSITIONAL_OR_KEYWORD)
        assert patch.parameters[: len(named)] == named, patch.name


def test_all_patches_say_what_they_are_for_and_rely_on() -> None:
    for patch in PATCHES:
        assert patch.why.endswith("."), patch.name
        assert patch.relies_on.endswith("."), patch.name


class TestChecks:
    def test_the_installed_celery_is_as_it_should_be(self) -> None:
        assert checks.celery_version() == checks.celery_patches() == []

    @pytest.mark.parametrize(
        ("version", "found"),
        [
            ((5, 4, 0), "user_workflows.E001"),
            ((5, 5, 0), None),
            ((5, 7, 9), None),
            ((5, 8, 0), "user_workflows.W002"),
            ((6, 0, 0), "user_workflows.W002"),
        ],
    )
    def test_another_version_is_reported(
        self, version: tuple[int, ...], found: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(celery, "VERSION", version)
        assert [message.id for message in checks.celery_version()] == [found] * bool(found)

    def test_a_method_that_is_missing_is_reported_and_left_out(
        self, unpatched: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        with monkeypatch.context() as patched:
            patched.delattr(Task, "add_to_chord")
            [message] = checks.celery_patches()
            patches.install()
            assert hasattr(Task.on_replace, "__wrapped__")
            patches.uninstall()
        assert message.id == "user_workflows.E002"
        assert "no Task.add_to_chord" in message.msg
        assert "no Task.add_to_chord" in caplog.text

    def test_a_method_that_takes_something_else_is_reported(
        self, unpatched: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Task, "on_replace", lambda self, canvas: None)
            [message] = checks.celery_patches()
        assert message.id == "user_workflows.E002"
        assert "Task.on_replace" in message.msg
