"""Packing and unpacking `.tar.gz` archives; unpacking is safe for untrusted ones."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from .model import CourseError

MEGABYTE = 1024 * 1024
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError)


@dataclass(frozen=True)
class Limits:
    """Limits on what an archive unpacks to."""

    files: int = 20_000
    """Members, folders included."""
    total: int = 2048 * MEGABYTE
    """Bytes in all."""
    single: int = 256 * MEGABYTE
    """Bytes in one file."""


class _BoundedStream(io.RawIOBase):
    """The unpacked stream, limited in its total size and in the size of one read.

    `Limits` are checked against the members' headers. This class stops what no header shows: a
    stream that never ends, and an oversized header, which `tarfile` would read into memory.
    """

    def __init__(self, source: gzip.GzipFile, total: int) -> None:
        self.source = source
        self.total = total

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= MEGABYTE:
            raise CourseError("The archive is malformed: it has an oversized header")
        data = self.source.read(size)
        if self.source.tell() > self.total:
            raise CourseError(_too_large(self.total))
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if offset > self.total:
            raise CourseError(_too_large(self.total))
        return self.source.seek(offset, whence)

    def tell(self) -> int:
        return self.source.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def unpack(
    archive: Path,
    target: Path,
    limits: Limits | None = None,
    *,
    suffix: str = "",
) -> None:
    """Unpack `archive` into the new folder `target`, or leave nothing there and raise.

    Contents are written as plain new files, not by `TarFile.extract`: no link, device or
    permission is ever made, and the extraction filters, which differ between releases of Python,
    do not matter.

    Args:
        archive: The `.tar.gz` file.
        target: The folder to make.
        limits: Limits to check; by default those of `Limits()`.
        suffix: Write only files whose names end in this; all members are checked.

    Raises:
        CourseError: The archive is unsafe, too large, damaged, or cannot be read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        _unpack(archive, folder, limits or Limits(), suffix)
        folder.rename(target)
    except _DAMAGED:
        raise CourseError(f"'{archive.name}' is not a .tar.gz archive, or is damaged") from None
    except OSError as error:
        raise CourseError(f"'{archive.name}' cannot be read: {error.strerror}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(archive: Path, folder: Path, limits: Limits, suffix: str) -> None:
    """Check each member of `archive` and write it into `folder`."""
    overhead = MEGABYTE + limits.files * 4 * tarfile.BLOCKSIZE
    total = 0
    with gzip.open(archive) as stream:
        bounded = _BoundedStream(stream, limits.total + overhead)
        with tarfile.open(fileobj=bounded, mode="r:") as tar:
            for number, member in enumerate(tar, start=1):
                if number > limits.files:
                    raise CourseError(f"The archive holds more than {limits.files:,} files")
                path = _checked_path(member, limits)
                total += member.size
                if total > limits.total:
                    raise CourseError(_too_large(limits.total))
                if path.name.endswith(suffix):
                    _extract(tar, member, folder / path)


def _checked_path(member: tarfile.TarInfo, limits: Limits) -> PurePosixPath:
    """Return the path of `member`; raise unless it is a safe file or folder."""
    name = member.name
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise CourseError(f"The archive is unsafe: '{name}' points outside of it")
    if member.issym() or member.islnk():
        raise CourseError(f"The archive is unsafe: '{name}' is a link, to '{member.linkname}'")
    if member.issparse() or not (member.isfile() or member.isdir()):
        raise CourseError(f"The archive is unsafe: '{name}' is neither a file nor a folder")
    if member.size > limits.single:
        size, limit = member.size // MEGABYTE, limits.single // MEGABYTE
        raise CourseError(f"'{name}' in the archive has {size:,} MB; the limit is {limit:,} MB")
    return path


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Write the contents of `member` to `path`, which must not exist."""
    try:
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        source = cast(IO[bytes], tar.extractfile(member))  # None only for folders and links
        with source, path.open("xb") as file:
            shutil.copyfileobj(source, file)
    except (FileExistsError, NotADirectoryError):
        raise CourseError(f"The archive holds '{member.name}' twice") from None
    except OSError as error:
        raise CourseError(f"'{member.name}' cannot be unpacked: {error.strerror}") from None


def _too_large(total: int) -> str:
    return f"The archive unpacks to more than {total // MEGABYTE:,} MB"


class Packer:
    """A writer of a reproducible `.tar.gz`: the same files give the same bytes.

        with Packer(path) as packer:
            packer.add("course/course.xml", file, size)

    The archive appears at `path` when it is complete, and not at all if the body raises.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: set[str] = set()

    def __enter__(self) -> Packer:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.NamedTemporaryFile(dir=self.path.parent, delete=False)
        self._gzip = gzip.GzipFile("", "wb", compresslevel=6, fileobj=self._file, mtime=0)
        self._tar = tarfile.open(fileobj=self._gzip, mode="w", format=tarfile.PAX_FORMAT)
        return self

    def add(self, name: str, file: IO[bytes], size: int) -> None:
        """Add `size` bytes of `file` under `name`; do nothing if the name is taken."""
        if name not in self.names:
            self.names.add(name)
            member = tarfile.TarInfo(name)
            member.size = size
            self._tar.addfile(member, file)

    def add_files(self, root: Path, files: Iterable[str], prefix: str = "") -> None:
        """Add `files`, named relative to `root`, with `prefix` before their names."""
        for name in files:
            path = root / name
            with path.open("rb") as file:
                self.add(prefix + name, file, path.stat().st_size)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        temporary = Path(self._file.name)
        try:
            if error is None:
                self._tar.close()
                self._gzip.close()
        finally:
            self._file.close()
        if error is None:
            temporary.chmod(0o644)
            temporary.replace(self.path)
        else:
            temporary.unlink(missing_ok=True)
