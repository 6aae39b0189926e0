"""Uploaded course archives, in a folder that all workers can read.

An archive is kept as long as there is a course that was imported from it, and at least `MAX_AGE`,
so that an import has time to record its course.
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
"""Most bytes of an archive."""
UNPACKED = olx.Limits(files=10_000, total=200 * MEGABYTE, single=50 * MEGABYTE)
"""Limits on what is unpacked within a request."""
MAX_AGE = 24 * 3600
"""Seconds after which an archive that no course was imported from is deleted."""


def store(upload: UploadedFile) -> Path:
    """Store an upload in a new folder and return its path; delete old uploads."""
    delete_old()
    name = re.sub(r"[^\w.-]+", "_", upload.name or "").strip(".")[-100:]
    path = _folder() / uuid4().hex / (name or "course.tar.gz")
    path.parent.mkdir(parents=True)
    with path.open("xb") as file:
        for chunk in upload.chunks():
            file.write(chunk)
    return path


def delete(path: Path) -> None:
    """Delete the upload that `store` has put at `path`."""
    shutil.rmtree(path.parent, ignore_errors=True)


def read_outline(path: Path) -> olx.Course:
    """Return the outline of the course in an archive.

    Raises:
        CourseError: There is no readable course in it, or it unpacks to too much.
    """
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / path.name
        olx.unpack(path, unpacked, UNPACKED, suffix=".xml")
        return olx.read_outline(unpacked)


def delete_old() -> None:
    """Delete archives older than `MAX_AGE` that no course was imported from."""
    limit = time.time() - MAX_AGE
    folders = [path for path in _folder().glob("*") if path.stat().st_mtime < limit]
    if folders:
        needed = {Path(source).parent for source in Course.objects.values_list("source", flat=True)}
        for folder in folders:
            if folder not in needed:
                shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    return Path(settings.EXAMPLE_VAR) / "uploads"
