"""Packing: a course that is packed, unpacked and read again is the same course."""

import subprocess
import tempfile
from itertools import starmap
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from courses.olx import (
    CourseError,
    archive_name,
    assemble,
    find_root,
    pack_chapter,
    read_course,
    stage,
    unpack,
    verify,
)

from .samples import SAMPLE, real_course, write


def export(source, folder):
    """Run the steps of the export's tasks, one after another."""
    root, course = find_root(source), read_course(source)
    parts = []
    for number, chapter in enumerate(course.chapters):
        staged = folder / f"chapter-{number}"
        stage(root, chapter.all_files(), staged)
        parts.append(pack_chapter(chapter, staged, folder / f"{number}.tar.gz").path)
    packed = assemble(root, course, parts, folder / archive_name(course))
    verify(packed.path, course)
    return course, packed


def contents(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_shipped_course_survives_export_byte_for_byte(tmp_path):
    course, packed = export(SAMPLE, tmp_path)
    assert packed.path.name == "UserWorkflows-NIGHT101-2025.tar.gz"
    unpack(packed.path, tmp_path / "again")
    assert read_course(tmp_path / "again") == course
    assert contents(tmp_path / "again" / "course") == contents(SAMPLE)
    assert packed.files == len(contents(SAMPLE))


def test_archive_is_readable_by_tar(tmp_path):
    _, packed = export(SAMPLE, tmp_path)
    listed = subprocess.run(["tar", "tzf", packed.path], capture_output=True, text=True, check=True)
    assert "course/course.xml" in listed.stdout.splitlines()


def test_real_course_survives_export_byte_for_byte(tmp_path):
    source = real_course()
    if source.is_file():
        unpack(source, tmp_path / "source")
        source = tmp_path / "source"
    course, packed = export(source, tmp_path)
    unpack(packed.path, tmp_path / "again")
    assert contents(tmp_path / "again" / "course") == contents(find_root(source))
    if course.key == "course-v1:OpenedX+DemoX+DemoCourse":
        counts = course.tree.counts()
        structure = [counts[name] for name in ("chapter", "sequential", "vertical")]
        blocks = [counts[name] for name in ("html", "problem", "video")]
        assert structure == [6, 17, 58]
        assert blocks == [266, 29, 11]


def test_unreferenced_hidden_and_linked_files_are_not_packed(tmp_path):
    root = write(tmp_path / "source")
    write(root, {"html/orphan.html": "x", ".git/config": "x", "README.txt": "x", "tabs/a.html": ""})
    (root / "static" / "link").symlink_to("/etc/hostname")
    _, packed = export(root, tmp_path)
    unpack(packed.path, tmp_path / "again")
    missing = set(contents(root)) - set(contents(tmp_path / "again" / "course"))
    assert missing == {"html/orphan.html", ".git/config", "static/link"}


def test_chapter_with_a_fault_is_not_packed(tmp_path):
    root = write(tmp_path / "source", html__h1=None)
    chapter = read_course(root).chapters[0]
    with pytest.raises(CourseError, match=r"html/h1\.xml is missing"):
        pack_chapter(chapter, root, tmp_path / "part.tar.gz")


def test_chapter_with_missing_files_is_not_packed(tmp_path):
    chapter = read_course(write(tmp_path / "source")).chapters[0]
    with pytest.raises(CourseError, match=r"^Chapter 'Week 1': \S+ was not exported$"):
        pack_chapter(chapter, tmp_path / "nothing", tmp_path / "part.tar.gz")


def test_verify_refuses_an_archive_without_a_chapter(tmp_path):
    root = write(tmp_path / "source")
    course = read_course(root)
    packed = assemble(root, course, [], tmp_path / "a.tar.gz")
    with pytest.raises(CourseError, match=r"chapter/week1\.xml is missing"):
        verify(packed.path, course)


def test_verify_refuses_the_archive_of_another_course(tmp_path):
    _, packed = export(SAMPLE, tmp_path)
    with pytest.raises(CourseError, match="is not the course it was made from"):
        verify(packed.path, read_course(write(tmp_path / "other")))


# -- random courses: an element is (tag, title, inline or in its own file, children) ---------------

LEAVES = st.sampled_from(["html", "problem", "video", "drag-and-drop-v2"])
TITLES = st.text(
    st.characters(exclude_categories=["C"], exclude_characters="\ufffe\uffff"), min_size=1
)


def elements(tags, children):
    return st.tuples(tags, TITLES, st.booleans(), children)


leaves = elements(LEAVES, st.just([]))
banks = elements(st.just("library_content"), st.lists(leaves, max_size=2))
verticals = elements(st.just("vertical"), st.lists(leaves | banks, max_size=3))
sequentials = elements(st.just("sequential"), st.lists(verticals, max_size=2))
chapters = elements(st.just("chapter"), st.lists(sequentials, max_size=2))


class Author:
    """A writer of elements as OLX, each with a unique name."""

    def __init__(self, root):
        self.root = root
        self.written = 0

    def element(self, tag, title, inline, children):
        self.written += 1
        name = f"{tag}:{self.written}" if self.written % 3 == 0 else f"{tag}{self.written}"
        file = f"{tag}/{name.replace(':', '/')}"
        attributes = f"display_name={quoteattr(title)}"
        if tag == "html":
            attributes += f' filename="{name}"'
            write(self.root, {f"{file}.html": title})
        inside = "".join(self.element(*child) for child in children)
        if inline:
            return f'<{tag} url_name="{name}" {attributes}>{inside}</{tag}>'
        write(self.root, {f"{file}.xml": f"<{tag} {attributes}>{inside}</{tag}>"})
        return f'<{tag} url_name="{name}"/>'


def shape(block):
    return (block.category, block.title, [shape(child) for child in block.children])


def shape_of(element):
    tag, title, _, children = element
    return (tag, title, [shape_of(child) for child in children])


@settings(max_examples=40, deadline=None)
@given(st.lists(chapters, max_size=3), TITLES, st.booleans())
def test_random_course_survives_export(tree, title, pointed):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inside = "".join(starmap(Author(folder / "source").element, tree))
        body = f"display_name={quoteattr(title)}>{inside}</course>"
        if pointed:
            head = '<course url_name="run" org="X" course="Y"/>'
            files = {"course.xml": head, "course/run.xml": f"<course {body}"}
        else:
            files = {"course.xml": f'<course url_name="run" org="X" course="Y" {body}'}
        course, packed = export(write(folder / "source", files), folder)
        assert shape(course.tree) == ("course", title, [shape_of(chapter) for chapter in tree])
        unpack(packed.path, folder / "again")
        assert read_course(folder / "again") == course
        assert contents(folder / "again" / "course") == contents(folder / "source")
