"""What a course is made of: a tree of blocks, each knowing its files and its faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

WORDS = {"course": "course", "chapter": "chapter", "sequential": "lesson", "vertical": "unit"}
"""What a course author calls the categories of OLX; any other goes by its own name."""

TOLD = 50
"""How many faults one error tells."""


class CourseError(Exception):
    """Something is wrong with a course; the message is for the course's author."""

    @classmethod
    def of(cls, faults: list[str]) -> CourseError:
        """One error that tells all `faults`, or as many as one cares to read."""
        if len(faults) == 1:
            return cls(faults[0])
        told = faults[:TOLD]
        if more := len(faults) - len(told):
            told.append(f"and {more:,} more")
        return cls("\n- ".join([f"{len(faults):,} problems:", *told]))


@dataclass(frozen=True)
class Block:
    """One element of a course: a chapter, a sequential, a vertical, a problem, ..."""

    category: str
    """The element's tag."""
    url_name: str
    title: str
    files: tuple[str, ...] = ()
    """Its own files, relative to the course; none if it is written inside its parent's file."""
    children: tuple[Block, ...] = ()
    faults: tuple[str, ...] = ()
    """What is wrong with this block itself, in words."""

    def walk(self) -> Iterator[Block]:
        """This block and all below it, in the author's order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def components(self) -> tuple[Block, ...]:
        """Of a sequential: what its learners see, that is what its verticals hold."""
        found: list[Block] = []
        for child in self.children:
            found += child.children if child.category == "vertical" else (child,)
        return tuple(found)

    def all_files(self) -> list[str]:
        """The files of this block and all below it, each once."""
        return list(dict.fromkeys(file for block in self.walk() for file in block.files))

    def all_faults(self) -> list[str]:
        """The faults of this block and all below it."""
        return [fault for block in self.walk() for fault in block.faults]

    def check(self) -> None:
        """Raise `CourseError` if there is a fault at or below this block."""
        if faults := self.all_faults():
            raise CourseError.of(faults)

    def counts(self) -> dict[str, int]:
        """How many blocks of each category there are at and below this block."""
        return dict(Counter(block.category for block in self.walk()))

    def as_dict(self) -> dict[str, Any]:
        """The tree in JSON's terms, for a report."""
        seen: dict[str, Any] = {"category": self.category, "url_name": self.url_name}
        seen["title"] = self.title
        if self.faults:
            seen["faults"] = list(self.faults)
        if self.children:
            seen["children"] = [child.as_dict() for child in self.children]
        return seen


@dataclass(frozen=True)
class Course:
    """A course: its key's three parts and its tree."""

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
    """`1 lesson`, `3 lessons`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
