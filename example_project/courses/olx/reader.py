"""Reading an unpacked OLX course.

Faults do not stop the reading. They are stored on the block that has them, so that an author
sees all of them at once, and sound chapters can be processed beside broken ones. Only a course
whose root cannot be read raises `CourseError`.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .markup import MAX_DEPTH, parse
from .model import CATEGORY_LABELS, Block, Course, CourseError

MAX_BLOCKS = 20_000
STRUCTURE = frozenset({"course", "chapter", "sequential", "vertical"})
"""The categories that structure a course; `read_outline` opens the files of no others."""
CONTENT = frozenset({"html", "problem", "video", "discussion"})
"""The categories whose elements are content and never blocks."""


def find_root(path: str | Path) -> Path:
    """Return the folder with `course.xml`: `path` itself or a folder directly in it."""
    top = Path(path)
    folders: list[Path] = sorted(top.iterdir()) if top.is_dir() else []
    for folder in [top, top / "course", *folders]:
        if (folder / "course.xml").is_file():
            return folder
    raise CourseError(f"There is no course.xml in '{top.name}': this is not an OLX course")


def read_course(path: str | Path) -> Course:
    """Read the whole course at `path`."""
    return _Reader(find_root(path)).course()


def read_outline(path: str | Path) -> Course:
    """Read the course down to its verticals; their components are named but not opened."""
    return _Reader(find_root(path), outline=True).course()


def read_chapter(path: str | Path, url_name: str) -> Block:
    """Read one chapter of the course at `path`, without reading the others."""
    chapters = _Reader(find_root(path)).course(only=url_name).chapters
    if not chapters:
        raise CourseError(f"Chapter '{url_name}' is not in the course any more")
    return chapters[0]


@dataclass(frozen=True)
class _Place:
    """A position in the course, for messages and to detect circular references."""

    labels: tuple[str, ...] = ()
    files: tuple[str, ...] = ("course.xml",)

    def __str__(self) -> str:
        path = ", ".join(self.labels)
        label = path[:1].upper() + path[1:]
        return f"{label} ({self.files[-1]})" if label else self.files[-1]

    def within(self, block: Block) -> _Place:
        """Return the place inside `block`; the course itself is left out of messages."""
        if block.category == "course":
            return replace(self, files=self.files + block.files)
        category = CATEGORY_LABELS.get(block.category, block.category)
        return _Place((*self.labels, f"{category} '{block.title}'"), self.files + block.files)


class _Reader:
    """A reader of one course, which counts the blocks it has read."""

    def __init__(self, root: Path, *, outline: bool = False) -> None:
        self.root = root.resolve()
        self.outline = outline
        self.blocks = 0

    def course(self, only: str | None = None) -> Course:
        """Read the course; with `only`, no chapter but the one with that `url_name`."""
        pointer = element = self.load("course.xml", "course")
        files = ["course.xml"]
        if _is_pointer(pointer):
            files.append(_file_of("course", pointer.get("url_name", "")))
            try:
                element = self.load(files[-1], "course")
            except CourseError as error:
                raise CourseError(f"course.xml: {error}") from None
        run = pointer.get("url_name") or element.get("url_name") or "run"
        org, number = (
            pointer.get(part) or element.get(part) or "unknown" for part in ("org", "course")
        )
        tree = Block("course", run, element.get("display_name") or run, tuple(files))
        place = _Place().within(tree)
        chapters = []
        for name, child in self.children_of(element, tree):
            if only is None or name == only:
                chapters.append(self.block(child, name, place))
        faults = () if only or self.outline else tuple(self.policy_faults())
        tree = replace(tree, children=tuple(chapters), faults=faults)
        return Course(org, number, run, tree)

    def block(self, element: ET.Element, url_name: str, place: _Place) -> Block:
        """Return the block that `element` is or points to."""
        self.blocks += 1
        if self.blocks > MAX_BLOCKS:
            raise CourseError(f"The course has more than {MAX_BLOCKS:,} blocks")
        if len(place.labels) > MAX_DEPTH:
            raise CourseError(f"The course has blocks nested more than {MAX_DEPTH} deep")
        block = Block(element.tag, url_name, element.get("display_name") or url_name)
        if self.outline and element.tag not in STRUCTURE:
            return block
        try:
            if _is_pointer(element):
                file = _file_of(element.tag, url_name)
                if file in place.files:
                    raise CourseError(f"{file} contains itself")
                element = self.load(file, element.tag)
                title = element.get("display_name") or url_name
                block = replace(block, title=title, files=(file,))
            if block.category == "html" and (name := element.get("filename")):
                page = _file_of("html", name, "html")
                self.locate(page)
                block = replace(block, files=(*block.files, page))
        except CourseError as error:
            return replace(block, faults=(f"{place}: {error}",))
        inside = place.within(block)
        children = [self.block(c, name, inside) for name, c in self.children_of(element, block)]
        return replace(block, children=tuple(children))

    def children_of(self, element: ET.Element, block: Block) -> Iterator[tuple[str, ET.Element]]:
        """Yield the children of `element` that are blocks, each after its `url_name`."""
        if block.category in CONTENT:
            return
        for number, child in enumerate(element, start=1):
            name = child.get("url_name")
            if block.category == "course":
                is_block = child.tag == "chapter"
            else:
                is_block = block.category in STRUCTURE or name is not None
            if is_block:
                yield name or f"{block.url_name}-{number}", child

    def load(self, file: str, tag: str) -> ET.Element:
        """Return the root element of `file`; raise unless it is a `tag`."""
        path = self.locate(file)
        try:
            element = parse(path)
        except CourseError as error:
            raise CourseError(f"{file} {error}") from None
        if element.tag != tag:
            raise CourseError(f"{file} holds a <{element.tag}> where a <{tag}> belongs")
        return element

    def locate(self, file: str) -> Path:
        """Return the path of `file`; raise unless it is in the course, links resolved."""
        try:
            path = (self.root / file).resolve()
            found = path.is_file()
        except (OSError, RuntimeError):  # the name is too long, or links are circular
            found = False
        if not found:
            raise CourseError(f"{file} is missing")
        if not path.is_relative_to(self.root):
            raise CourseError(f"{file} is outside the course")
        return path

    def policy_faults(self) -> Iterator[str]:
        """Yield the faults of the policies, which are JSON files."""
        for path in sorted(self.root.glob("policies/**/*.json")):
            file = path.relative_to(self.root).as_posix()
            try:
                json.loads(self.locate(file).read_bytes())
            except CourseError as error:
                yield str(error)
            except json.JSONDecodeError as error:
                where = f"line {error.lineno}, column {error.colno}"
                yield f"{file} is not valid JSON: {where}: {error.msg}"
            except (ValueError, RecursionError):
                yield f"{file} is not valid JSON"


def _is_pointer(element: ET.Element) -> bool:
    """Return whether `element` has nothing but the `url_name` of a block in another file."""
    names = set(element.attrib)
    if element.tag == "course":
        names -= {"org", "course"}
    return names == {"url_name"} and not len(element) and not (element.text or "").strip()


def _file_of(category: str, name: str, suffix: str = "xml") -> str:
    """Return the path of a block's file; in block names, OLX writes `:` for `/`."""
    return f"{category}/{name.replace(':', '/')}.{suffix}"
