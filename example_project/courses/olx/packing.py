"""Packing a course: each chapter into a part, the parts and the rest into one archive.

Files are copied byte for byte. What no block of the course refers to, among the folders of
blocks, is left out; all else (policies, static files, about pages, ...) goes along.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .archive import Packer, unpack
from .model import Block, Course, CourseError
from .reader import CONTENT, STRUCTURE, read_course

TOP = "course/"
"""The folder everything is in, in a course's archive."""


@dataclass(frozen=True)
class Part:
    """A chapter, packed."""

    path: Path
    files: int
    size: int


def stage(root: Path, files: Sequence[str], folder: Path) -> None:
    """Copy `files` of the course at `root` to `folder`."""
    for name in files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target)


def pack_chapter(chapter: Block, folder: Path, target: Path) -> Part:
    """Pack `chapter`, whose files were staged in `folder`, as the part `target`."""
    chapter.check()
    files = sorted(chapter.all_files())
    if lost := [name for name in files if not (folder / name).is_file()]:
        raise CourseError(f"Chapter '{chapter.title}': {lost[0]} was not exported")
    with Packer(target) as packer:
        packer.add_files(folder, files)
    return Part(target, len(files), target.stat().st_size)


def assemble(root: Path, course: Course, parts: Sequence[Path], target: Path) -> Part:
    """Make the archive `target` of the chapters' `parts` and the rest of the course at `root`."""
    with Packer(target) as packer:
        packer.add_files(root, course.tree.files, TOP)
        for part in parts:
            with tarfile.open(part) as tar:
                for member in tar:
                    if (file := tar.extractfile(member)) is not None:
                        packer.add(TOP + member.name, file, member.size)
        packer.add_files(root, shared_files(root, course), TOP)
    return Part(target, len(packer.names), target.stat().st_size)


def shared_files(root: Path, course: Course) -> list[str]:
    """The files that belong to no block, but to the course."""
    taken = STRUCTURE | CONTENT | {block.category for block in course.tree.walk()}
    paths = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    names = [path.relative_to(root) for path in paths]
    return [
        name.as_posix()
        for name in names
        if name.parts[0] not in taken and not any(part.startswith(".") for part in name.parts)
    ]


def verify(archive: Path, course: Course) -> Course:
    """Unpack and read `archive` anew; it must be whole, and the same course."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        unpack(archive, Path(folder) / "verify")
        found = read_course(Path(folder) / "verify")
    found.tree.check()
    if found != course:
        raise CourseError(f"The archive of '{course.title}' is not the course it was made from")
    return found


def archive_name(course: Course) -> str:
    """A file name for the course's archive."""
    parts = (course.org, course.number, course.run)
    return "-".join(re.sub(r"[^\w.]+", "_", part).strip(".") or "_" for part in parts) + ".tar.gz"
