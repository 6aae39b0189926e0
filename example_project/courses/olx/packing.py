"""Packing a course: each chapter into a part, then the parts and the rest into one archive.

Files are copied byte for byte. In the folders of blocks, files that no block refers to are left
out; all other folders (policies, static files, about pages, ...) are included.
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
"""The folder in the archive that contains everything else."""


@dataclass(frozen=True)
class Part:
    """A packed chapter, or the whole archive."""

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
    """Pack the files of `chapter` that were staged in `folder` into the part `target`."""
    chapter.check()
    files = sorted(chapter.all_files())
    if missing := [name for name in files if not (folder / name).is_file()]:
        raise CourseError(f"Chapter '{chapter.title}': {missing[0]} was not exported")
    with Packer(target) as packer:
        packer.add_files(folder, files)
    return Part(target, len(files), target.stat().st_size)


def assemble(root: Path, course: Course, parts: Sequence[Path], target: Path) -> Part:
    """Write the archive `target` from the chapters' `parts` and the rest of `course`."""
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
    """Return the files that belong to the course but to no block."""
    block_folders = STRUCTURE | CONTENT | {block.category for block in course.tree.walk()}
    paths = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    names = [path.relative_to(root) for path in paths]
    return [
        name.as_posix()
        for name in names
        if name.parts[0] not in block_folders
        and not any(part.startswith(".") for part in name.parts)
    ]


def verify(archive: Path, course: Course) -> Course:
    """Unpack and read `archive`; raise `CourseError` unless it is `course`, without faults."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        unpack(archive, Path(folder) / "verify")
        found = read_course(Path(folder) / "verify")
    found.tree.check()
    if found != course:
        raise CourseError(f"The archive of '{course.title}' is not the course it was made from")
    return found


def archive_name(course: Course) -> str:
    """Return a file name for the course's archive."""
    parts = (course.org, course.number, course.run)
    return "-".join(re.sub(r"[^\w.]+", "_", part).strip(".") or "_" for part in parts) + ".tar.gz"
