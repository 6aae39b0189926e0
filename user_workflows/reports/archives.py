"""All artifacts below a node as one zip archive that is made while it is sent."""

import json
import logging
import posixpath
import re
import zipfile
from collections.abc import Iterable, Iterator

from django.http import StreamingHttpResponse

from ..models import UserTaskArtifact, UserTaskStatus
from .paths import Paths

logger = logging.getLogger(__name__)

_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]+")


class _ChunkBuffer:
    """A file that ``ZipFile`` writes to and that forgets what was taken from it."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, data: bytes, /) -> int:
        self._waiting += data
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def take(self) -> bytes:
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken


def stream_zip(artifacts: Iterable[tuple[UserTaskArtifact, list[str]]]) -> Iterator[bytes]:
    """Yield the archive of these artifacts, each given with its path.

    ``manifest.json`` comes last and lists all of them, also links, and files that their storage
    has lost. Memory: one chunk of one file.
    """
    buffer, taken, manifest = _ChunkBuffer(), dict[str, int](), []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for artifact, path in artifacts:
            row: dict[str, object] = {
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
                name = _entry_name(path, posixpath.basename(str(artifact.file.name)), taken)
                row["file"] = name
                try:
                    opened = artifact.file.open("rb")
                    with opened as file, archive.open(name, "w", force_zip64=True) as entry:
                        for chunk in file.chunks():
                            entry.write(chunk)
                            yield buffer.take()
                except Exception:  # Storages have errors of their own.
                    logger.exception(
                        "Could not read %s of artifact %s (node %s); its archive lacks the file.",
                        artifact.file.name, artifact.uuid, artifact.status_id,
                        extra={"node": artifact.status_id},
                    )  # fmt: skip
                    row["missing"] = True
            elif artifact.text:
                row["file"] = name = _entry_name(path, f"{artifact.name}.txt", taken)
                archive.writestr(name, artifact.text)
            yield buffer.take()
        archive.writestr("manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False))
    yield buffer.take()


def zip_response(node: UserTaskStatus) -> StreamingHttpResponse:
    """Return a response that streams the archive of all artifacts below a node."""
    paths = Paths(node)
    found = node.subtree_artifacts().select_related("status").iterator(chunk_size=500)
    chunks = stream_zip((artifact, paths.of(artifact.status)) for artifact in found)
    response = StreamingHttpResponse(chunks, content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{node.uuid}.zip"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _entry_name(path: list[str], name: str, taken: dict[str, int]) -> str:
    """Return a name within the archive that is safe to unpack anywhere and not yet taken.

    ``taken`` has the names given so far, case-folded, each with the last number added to it.
    """
    folders = [_safe_name(part) for part in path]
    stem, dot, suffix = _safe_name(name).rpartition(".")
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


def _safe_name(name: str) -> str:
    cleaned = _UNSAFE.sub("_", name).strip(" .")[:80].rstrip(" .")
    return cleaned or "_"
