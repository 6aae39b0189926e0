"""Folders for the files of one workflow, which all workers share.

The last task of a workflow removes its workspace. That of a failed workflow stays until it is
`MAX_AGE` old, because re-running the failed part needs its files.
"""

import shutil
import time
from pathlib import Path
from uuid import uuid4

from django.conf import settings

MAX_AGE = 7 * 24 * 3600
"""Seconds after which a workspace is removed, whatever the state of its workflow."""


def new() -> Path:
    """Return the path of a new workspace, which its tasks create; remove old ones."""
    top = Path(settings.EXAMPLE_VAR) / "work"
    for old in top.glob("*"):
        if old.stat().st_mtime < time.time() - MAX_AGE:
            remove(old)
    return top / uuid4().hex


def remove(workspace: Path) -> None:
    """Delete `workspace` and everything in it."""
    shutil.rmtree(workspace, ignore_errors=True)
