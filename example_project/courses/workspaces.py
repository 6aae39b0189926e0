"""Folders in which the tasks of one workflow work together, shared by all workers.

One is removed when its workflow is through. That of a failed workflow stays, for it holds what
re-running the failed part needs, until it is old.
"""

import shutil
import time
from pathlib import Path
from uuid import uuid4

from django.conf import settings

MAX_AGE = 7 * 24 * 3600
"""Seconds after which a workspace may go whatever became of its workflow."""


def new() -> Path:
    """A folder name for one workflow; the tasks make what they need in it."""
    top = Path(settings.EXAMPLE_VAR) / "work"
    for old in top.glob("*"):
        if old.stat().st_mtime < time.time() - MAX_AGE:
            remove(old)
    return top / uuid4().hex


def remove(workspace: Path) -> None:
    """Delete `workspace` and all in it."""
    shutil.rmtree(workspace, ignore_errors=True)
