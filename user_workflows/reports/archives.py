"""All artifacts below a node as one zip archive that is made while it is sent."""

from __future__ import annotations

import json
import logging
import posixpath
import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from django.http import StreamingHttpResponse

from ..models import UserTaskArtifact, UserTaskStatus
from .paths import Paths

logger = logging.getLogger(__name__)

_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]+")


class _ChunkBuffer:
    """A file that forgets what was read from it: the archive's bytes on their way out."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, data: bytes, /) -> int:
        self._waiting += data
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is held open."""

    def take(self) -> bytes:
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken


def stream_zip(artifacts: Iterable[tuple[UserTaskArtifact, list[str]]]) -> Iterator[bytes]:
    """The archive of these artifacts, each given with the names of the nodes that lead to it.

    Memory: one chunk of one file. A file that its storage has lost is told in ``manifest.json``,
    which comes last and lists everything, links too.
    """
    outlet, taken, manifest = _ChunkBuffer(), dict[str, int](), []
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_DEFLATED) as archive:
        for artifact, path in artifacts:
            row: dict[str, Any] = {
                "name": artifact.name,
                "path": path,
                "uuid": str(artifact.uuid),
                "content_type": artifact.content_type,
                "created": artifact.created.isoformat(),
            }
            manifest.append(row)
            if artifact.url:
                row["url"] = artifact.url
            if artifact.file:
                row["file"] = _entry(path, posixpath.basename(str(artifact.file.name)), taken)
                try:
                    with (
                        artifact.file.open("rb") as file,
                        archive.open(row["file"], "w", force_zip64=True) as entry,
                    ):
                        for chunk in file.chunks():
                            entry.write(chunk)
                            yield outlet.take()
                except Exception:  # Storages have errors of their own.
                    logger.exception("An archive is sent without %s.", artifact.file.name)
                    row["missing"] = True
            elif artifact.text:
                row["file"] = _entry(path, f"{artifact.name}.txt", taken)
                archive.writestr(row["file"], artifact.text)
            yield outlet.take()
        archive.writestr("manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False))
    yield outlet.take()


def zip_response(node: UserTaskStatus) -> StreamingHttpResponse:
    """The archive of all artifacts below a node, as an answer that is made while it is sent."""
    paths = Paths(node)
    found = node.subtree_artifacts().select_related("status").iterator(chunk_size=500)
    made = StreamingHttpResponse(
        stream_zip((artifact, paths.of(artifact.status)) for artifact in found),
        content_type="application/zip",
    )
    made["Content-Disposition"] = f'attachment; filename="{node.uuid}.zip"'
    made["X-Content-Type-Options"] = "nosniff"
    return made


def _entry(path: list[str], name: str, taken: dict[str, int]) -> str:
    """A name within the archive: safe to unpack anywhere, and different from all others.

    ``taken`` holds the names that were given, each with the last number that was added to it.
    """
    folders = [_safe(part) for part in path]
    stem, dot, suffix = _safe(name).rpartition(".")
    stem, suffix = (stem, dot + suffix) if stem else (suffix, "")
    first = posixpath.join(*folders, f"{stem}{suffix}")
    found, number = first, taken.get(first.casefold(), 0)
    while found.casefold() in taken:
        number += 1
        found = posixpath.join(*folders, f"{stem} ({number}){suffix}")
    taken[found.casefold()] = 1
    if number:
        taken[first.casefold()] = number
    return found


def _safe(name: str) -> str:
    cleaned = _UNSAFE.sub("_", name).strip(" .")[:80].rstrip(" .")
    return cleaned or "_"
