"""Course archives that users have uploaded, where all workers find them.

One is kept as long as a course is known that came from it, and for a while for an import that
is under way.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from . import olx
from .models import Course
from .olx.archive import MEGABYTE

LIMIT = 20 * MEGABYTE
"""Bytes of an archive."""
UNPACKED = olx.Limits(files=10_000, total=200 * MEGABYTE, single=50 * MEGABYTE)
"""What it may unpack to while a user waits for an answer."""
MAX_AGE = 24 * 3600
"""Seconds after which an archive that no course came from may go."""


def keep(upload: UploadedFile) -> Path:
    """Store an upload in a folder of its own."""
    clear()
    name = re.sub(r"[^\w.-]+", "_", upload.name or "").strip(".")[-100:]
    path = _top() / uuid4().hex / (name or "course.tar.gz")
    path.parent.mkdir(parents=True)
    with path.open("xb") as file:
        for chunk in upload.chunks():
            file.write(chunk)
    return path


def remove(path: Path) -> None:
    """Delete what `keep` has stored."""
    shutil.rmtree(path.parent, ignore_errors=True)


def outline(path: Path) -> olx.Course:
    """The outline of the course in an archive; `CourseError` if there is none."""
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / path.name
        olx.unpack(path, unpacked, UNPACKED, suffix=".xml")
        return olx.read_outline(unpacked)


def clear() -> None:
    """Delete archives that nobody needs any more."""
    old = time.time() - MAX_AGE
    folders = [path for path in _top().glob("*") if path.stat().st_mtime < old]
    if folders:
        needed = {Path(source).parent for source in Course.objects.values_list("source", flat=True)}
        for folder in folders:
            if folder not in needed:
                shutil.rmtree(folder, ignore_errors=True)


def _top() -> Path:
    return Path(settings.EXAMPLE_VAR) / "uploads"
