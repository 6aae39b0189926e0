"""Reading an unpacked OLX course.

Faults do not stop the reading: they are noted on the block they concern, so that an author
learns of all of them at once and sound chapters can be worked on beside broken ones. Only a
course without a readable beginning raises `CourseError`.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .markup import MAX_DEPTH, parse
from .model import WORDS, Block, Course, CourseError

MAX_BLOCKS = 20_000
STRUCTURE = frozenset({"course", "chapter", "sequential", "vertical"})
"""The categories that arrange a course; `read_outline` opens no other block's files."""
CONTENT = frozenset({"html", "problem", "video", "discussion"})
"""Categories whose inside is content, in which no further block is looked for."""


def find_root(path: str | Path) -> Path:
    """The folder with `course.xml`: `path` itself or a folder right in it."""
    top = Path(path)
    folders: list[Path] = sorted(top.iterdir()) if top.is_dir() else []
    for folder in [top, top / "course", *folders]:
        if (folder / "course.xml").is_file():
            return folder
    raise CourseError(f"There is no course.xml in '{top.name}': this is not an OLX course")


def read_course(path: str | Path) -> Course:
    """The whole course at `path`."""
    return _Reader(find_root(path)).course()


def read_outline(path: str | Path) -> Course:
    """The course down to its verticals, quickly; what is in these is named, but not opened."""
    return _Reader(find_root(path), outline=True).course()


def read_chapter(path: str | Path, url_name: str) -> Block:
    """One chapter of the course at `path`, without reading the others."""
    chapters = _Reader(find_root(path)).course(only=url_name).chapters
    if not chapters:
        raise CourseError(f"Chapter '{url_name}' is not in the course any more")
    return chapters[0]


@dataclass(frozen=True)
class _Place:
    """Where in the course we are reading, for messages and against circles."""

    words: tuple[str, ...] = ()
    files: tuple[str, ...] = ("course.xml",)

    def __str__(self) -> str:
        words = ", ".join(self.words)
        named = words[:1].upper() + words[1:]
        return f"{named} ({self.files[-1]})" if named else self.files[-1]

    def within(self, block: Block) -> _Place:
        """The place inside `block`; the course itself is not worth naming."""
        if block.category == "course":
            return replace(self, files=self.files + block.files)
        word = WORDS.get(block.category, block.category)
        return _Place((*self.words, f"{word} '{block.title}'"), self.files + block.files)


class _Reader:
    """Reads one course; knows its folder and how many blocks were read."""

    def __init__(self, root: Path, *, outline: bool = False) -> None:
        self.root = root.resolve()
        self.outline = outline
        self.blocks = 0

    def course(self, only: str | None = None) -> Course:
        """The course; with `only`, of its chapters just the one of that name."""
        pointer = element = self.load("course.xml", "course")
        files = ["course.xml"]
        if _is_pointer(pointer):
            files.append(_file("course", pointer.get("url_name", "")))
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
        """The block that `element` is or points to."""
        self.blocks += 1
        if self.blocks > MAX_BLOCKS:
            raise CourseError(f"The course has more than {MAX_BLOCKS:,} blocks")
        if len(place.words) > MAX_DEPTH:
            raise CourseError(f"The course has blocks nested more than {MAX_DEPTH} deep")
        block = Block(element.tag, url_name, element.get("display_name") or url_name)
        if self.outline and element.tag not in STRUCTURE:
            return block
        try:
            if _is_pointer(element):
                file = _file(element.tag, url_name)
                if file in place.files:
                    raise CourseError(f"{file} contains itself")
                element = self.load(file, element.tag)
                title = element.get("display_name") or url_name
                block = replace(block, title=title, files=(file,))
            if block.category == "html" and (name := element.get("filename")):
                page = _file("html", name, "html")
                self.locate(page)
                block = replace(block, files=(*block.files, page))
        except CourseError as error:
            return replace(block, faults=(f"{place}: {error}",))
        inside = place.within(block)
        children = [self.block(c, name, inside) for name, c in self.children_of(element, block)]
        return replace(block, children=tuple(children))

    def children_of(self, element: ET.Element, block: Block) -> Iterator[tuple[str, ET.Element]]:
        """The elements in `element` that are blocks, each with its `url_name`."""
        if block.category in CONTENT:
            return
        for number, child in enumerate(element, start=1):
            name = child.get("url_name")
            if block.category == "course":
                wanted = child.tag == "chapter"
            else:
                wanted = block.category in STRUCTURE or name is not None
            if wanted:
                yield name or f"{block.url_name}-{number}", child

    def load(self, file: str, tag: str) -> ET.Element:
        """The root element of `file`, which must be a `tag`."""
        path = self.locate(file)
        try:
            element = parse(path)
        except CourseError as error:
            raise CourseError(f"{file} {error}") from None
        if element.tag != tag:
            raise CourseError(f"{file} holds a <{element.tag}> where a <{tag}> belongs")
        return element

    def locate(self, file: str) -> Path:
        """The path of `file`, which must be in the course, also when links are followed."""
        try:
            path = (self.root / file).resolve()
            found = path.is_file()
        except (OSError, RuntimeError):  # too long a name, links in a circle
            found = False
        if not found:
            raise CourseError(f"{file} is missing")
        if not path.is_relative_to(self.root):
            raise CourseError(f"{file} is outside the course")
        return path

    def policy_faults(self) -> Iterator[str]:
        """What is wrong with the JSON files of policies."""
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
    """Whether `element` only says in which file the block is, which is OLX's rule."""
    names = set(element.attrib)
    if element.tag == "course":
        names -= {"org", "course"}
    return names == {"url_name"} and not len(element) and not (element.text or "").strip()


def _file(category: str, name: str, suffix: str = "xml") -> str:
    """The file of a block; in names of blocks OLX writes `:` for a folder."""
    return f"{category}/{name.replace(':', '/')}.{suffix}"
