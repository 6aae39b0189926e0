"""What the how-to guide tells to do is done, as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission

from tests.moving.conftest import end, one, past
from tests.moving.models import Export
from tests.moving.test_better import HOW_TO
from user_workflows.legacy.importing import import_user_tasks
from user_workflows.models import UserTaskStatus


def block(language: str, containing: str) -> str:
    """The block of the guide in which this text is."""
    found = re.findall(rf"^```{language}\n(.*?)^```", HOW_TO.read_text(), re.M | re.S)
    (code,) = [code for code in found if containing in code]
    return str(code)


@pytest.mark.skipif(not (shutil.which("git") and shutil.which("perl")), reason="needs git and perl")
def test_the_search_and_replace_of_the_guide_changes_imports_and_settings_only(
    tmp_path: Path,
) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)

    (tmp_path / "app" / "migrations").mkdir(parents=True)
    before = {
        "app/tasks.py": "from user_tasks.tasks import UserTask, purge_old_user_tasks\n",
        "app/settings.py": 'INSTALLED_APPS = ["user_tasks"]\nUSER_TASKS_MAX_AGE = 1\n',
        "app/migrations/0001_initial.py": 'to="user_tasks.usertaskstatus"\n',
        "my_user_tasks.py": "my_user_tasks = 1\n",
        "requirements.txt": "django-user-tasks\n",
    }
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    git("init", "--quiet")
    git("add", ".")
    command = block("console", "perl").removeprefix("$ ")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    after = {name: (tmp_path / name).read_text() for name in before}
    assert after == before | {
        "app/tasks.py": "from user_workflows.tasks import UserTask, purge_old_user_tasks\n",
        "app/settings.py": 'INSTALLED_APPS = ["user_workflows"]\nUSER_TASKS_MAX_AGE = 1\n',
    }
    namespace: dict[str, Any] = {}
    exec(after["app/tasks.py"], namespace)


@pytest.mark.django_db
def test_the_permissions_snippet_of_the_guide_grants_the_new_permissions(user: Any) -> None:
    theirs = Permission.objects.filter(content_type__app_label="user_tasks")
    staff = Group.objects.create(name="staff")
    staff.permissions.add(theirs.get(codename="view_usertaskstatus"))
    user.user_permissions.add(theirs.get(codename="delete_usertaskartifact"))
    exec(block("python", "Permission"), {})
    ours = {"content_type__app_label": "user_workflows"}
    assert staff.permissions.get(**ours).codename == "view_usertaskstatus"
    assert user.user_permissions.get(**ours).codename == "delete_usertaskartifact"


@pytest.mark.django_db
def test_the_migration_of_the_guide_copies_references_of_other_apps(user: Any) -> None:
    done, still_open = one(user, "done"), one(user, "open")
    end("done")
    past()
    linked = Export.objects.create(task=done)
    waiting = Export.objects.create(task=still_open)
    list(import_user_tasks())
    namespace: dict[str, Any] = {}
    exec(block("python", "def link"), namespace)
    namespace["link"](apps, None)
    linked.refresh_from_db()
    waiting.refresh_from_db()
    assert linked.workflow == UserTaskStatus.objects.get(uuid=done.uuid)
    assert waiting.workflow is None
