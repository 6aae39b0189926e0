"""The parts of a course: a tree of blocks with their files and faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CATEGORY_LABELS = {
    "course": "course",
    "chapter": "chapter",
    "sequential": "lesson",
    "vertical": "unit",
}
"""Labels of OLX's categories for course authors; other categories are their own labels."""

MAX_FAULTS = 50
"""Faults that one error lists."""


class CourseError(Exception):
    """A fault of a course; the message is written for the course's author."""

    @classmethod
    def of(cls, faults: list[str]) -> CourseError:
        """Return one error that lists the first `MAX_FAULTS` faults and counts the rest."""
        if len(faults) == 1:
            return cls(faults[0])
        lines = faults[:MAX_FAULTS]
        if more := len(faults) - len(lines):
            lines.append(f"and {more:,} more")
        return cls("\n- ".join([f"{len(faults):,} problems:", *lines]))


@dataclass(frozen=True)
class Block:
    """One element of a course: a chapter, a sequential, a vertical, a problem, ..."""

    category: str
    """The element's tag."""
    url_name: str
    title: str
    files: tuple[str, ...] = ()
    """Paths of its own files in the course; none if it is written inside its parent's file."""
    children: tuple[Block, ...] = ()
    faults: tuple[str, ...] = ()
    """Faults of this block itself, as messages."""

    def walk(self) -> Iterator[Block]:
        """Yield the block and all its descendants, in the author's order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def components(self) -> tuple[Block, ...]:
        """Return the children of a sequential's verticals, which are what learners see."""
        found: list[Block] = []
        for child in self.children:
            found += child.children if child.category == "vertical" else (child,)
        return tuple(found)

    def all_files(self) -> list[str]:
        """Return the files of the block and its descendants, each once."""
        return list(dict.fromkeys(file for block in self.walk() for file in block.files))

    def all_faults(self) -> list[str]:
        """Return the faults of the block and its descendants."""
        return [fault for block in self.walk() for fault in block.faults]

    def check(self) -> None:
        """Raise `CourseError` if the block or a descendant has a fault."""
        if faults := self.all_faults():
            raise CourseError.of(faults)

    def counts(self) -> dict[str, int]:
        """Count the block and its descendants by category."""
        return dict(Counter(block.category for block in self.walk()))

    def as_dict(self) -> dict[str, Any]:
        """Return the tree as JSON data, for a report."""
        data: dict[str, Any] = {"category": self.category, "url_name": self.url_name}
        data["title"] = self.title
        if self.faults:
            data["faults"] = list(self.faults)
        if self.children:
            data["children"] = [child.as_dict() for child in self.children]
        return data


@dataclass(frozen=True)
class Course:
    """A course: the three parts of its key, and its tree."""

    org: str
    number: str
    run: str
    tree: Block

    @property
    def key(self) -> str:
        """The course key as Open edX writes it."""
        return f"course-v1:{self.org}+{self.number}+{self.run}"

    @property
    def title(self) -> str:
        """The course's name."""
        return self.tree.title

    @property
    def chapters(self) -> tuple[Block, ...]:
        """The course's chapters, in the author's order."""
        return self.tree.children


def plural(count: int, word: str) -> str:
    """Return a count with its noun: `1 lesson`, `3 lessons`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
