"""Reading OLX, and the messages about broken courses."""

import pytest

from courses.olx import CourseError, read_chapter, read_course, read_outline, reader

from .samples import SAMPLE, write


def titles(block):
    return {block.title: [titles(child) for child in block.children]}


def faults_of(root):
    return read_course(root).tree.all_faults()


def test_course_is_read_completely(tmp_path):
    course = read_course(write(tmp_path))
    assert (course.key, course.title) == ("course-v1:X+CS101+2025", "Small course")
    assert titles(course.tree) == {
        "Small course": [
            {"Week 1": [{"Stars": [{"Intro": [{"Hello": []}, {"Sum": []}]}]}]},
            {"Week 2": [{"Moons": [{"Outro": [{"bank": [{"Product": []}]}, {"inline": []}]}]}]},
        ]
    }  # fmt: skip
    assert course.tree.all_faults() == []
    assert course.chapters[0].all_files() == [
        "chapter/week1.xml", "sequential/s1.xml", "vertical/v1.xml",
        "html/h1.xml", "html/h1.html", "problem/p1.xml",
    ]  # fmt: skip


def test_course_in_a_subfolder_is_found(tmp_path):
    write(tmp_path / "export-2025")
    assert read_course(tmp_path).title == "Small course"


def test_outline_names_components_without_opening_them(tmp_path):
    root = write(tmp_path, html__h1=None, problem__p1="<broken")
    lesson = read_outline(root).chapters[0].children[0]
    assert [block.url_name for block in lesson.components()] == ["h1", "p1"]
    assert lesson.all_faults() == []


def test_chapter_is_read_beside_a_broken_one(tmp_path):
    root = write(tmp_path, chapter__week1="<broken")
    assert read_chapter(root, "week2").title == "Week 2"
    with pytest.raises(CourseError, match="Chapter 'week3' is not in the course any more"):
        read_chapter(root, "week3")


def test_inline_blocks_are_read(tmp_path):
    inline = """<course org="X" course="Y" url_name="Z" display_name="Inline">
      <chapter display_name="One">
        <sequential url_name="s"><vertical><html>Text</html></vertical></sequential>
      </chapter>
    </course>"""
    course = read_course(write(tmp_path, {"course.xml": inline}))
    assert [block.url_name for block in course.tree.walk()] == [
        "Z", "Z-1", "s", "s-1", "s-1-1",
    ]  # fmt: skip
    assert course.tree.all_files() == ["course.xml"]


def test_colon_in_a_name_is_a_folder(tmp_path):
    root = write(tmp_path, vertical__v1='<vertical><html url_name="a:b"/></vertical>')
    write(root, {"html/a/b.xml": '<html filename="a:b"/>', "html/a/b.html": "x"})
    assert "html/a/b.html" in read_course(root).chapters[0].all_files()


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (
            {"chapter__week1": None},
            "course/2025.xml: chapter/week1.xml is missing",
        ),
        (
            {"sequential__s1": None},
            "Chapter 'Week 1' (chapter/week1.xml): sequential/s1.xml is missing",
        ),
        (
            {"html__h1": None},
            "Chapter 'Week 1', lesson 'Stars', unit 'Intro' (vertical/v1.xml): "
            "html/h1.xml is missing",
        ),
        (
            {"html__h1": '<html filename="gone"/>'},
            "Chapter 'Week 1', lesson 'Stars', unit 'Intro' (vertical/v1.xml): "
            "html/gone.html is missing",
        ),
        (
            {"problem__p2": None},
            "Chapter 'Week 2', lesson 'Moons', unit 'Outro', library_content 'bank' "
            "(library_content/bank.xml): problem/p2.xml is missing",
        ),
        (
            {"vertical__v1": "<vertical>\n  <html>\n</vertical>"},
            "Chapter 'Week 1', lesson 'Stars' (sequential/s1.xml): "
            "vertical/v1.xml is not valid XML: line 3, column 3: mismatched tag",
        ),
        (
            {"vertical__v1": ""},
            "Chapter 'Week 1', lesson 'Stars' (sequential/s1.xml): "
            "vertical/v1.xml is not valid XML: line 1, column 1: no element found",
        ),
        (
            {"vertical__v1": "<sequential/>"},
            "Chapter 'Week 1', lesson 'Stars' (sequential/s1.xml): "
            "vertical/v1.xml holds a <sequential> where a <vertical> belongs",
        ),
        (
            {"html__h1": '<html filename="../../../../../../../../etc/hostname"/>'},
            "Chapter 'Week 1', lesson 'Stars', unit 'Intro' (vertical/v1.xml): "
            "html/../../../../../../../../etc/hostname.html is missing",
        ),
        (
            {"html__h1": '<html filename="../../outside"/>'},
            "Chapter 'Week 1', lesson 'Stars', unit 'Intro' (vertical/v1.xml): "
            "html/../../outside.html is outside the course",
        ),
        (
            {"html__h1": f'<html filename="{"x" * 300}"/>'},
            "Chapter 'Week 1', lesson 'Stars', unit 'Intro' (vertical/v1.xml): "
            f"html/{'x' * 300}.html is missing",
        ),
        (
            {"library_content__bank": '<library_content><library_content url_name="bank"/>'
             "</library_content>"},
            "Chapter 'Week 2', lesson 'Moons', unit 'Outro', library_content 'bank' "
            "(library_content/bank.xml): library_content/bank.xml contains itself",
        ),
    ],
)  # fmt: skip
def test_fault_names_its_place(tmp_path, changed, fault):
    (tmp_path / "outside.html").write_text("not the course's")
    assert faults_of(write(tmp_path / "course", **changed)) == [fault]


def test_link_out_of_the_course_is_not_followed(tmp_path):
    root = write(tmp_path / "course", html__h1=None)
    (tmp_path / "secret.xml").write_text("<html/>")
    (root / "html" / "h1.xml").symlink_to(tmp_path / "secret.xml")
    assert faults_of(root)[0].endswith("html/h1.xml is outside the course")


def test_check_lists_all_faults(tmp_path):
    root = write(tmp_path, html__h1=None, problem__p1="<oops")
    with pytest.raises(CourseError) as caught:
        read_course(root).chapters[0].check()
    assert str(caught.value).splitlines() == [
        "2 problems:",
        "- Chapter 'Week 1', lesson 'Stars', unit 'Intro' (vertical/v1.xml): "
        "html/h1.xml is missing",
        "- Chapter 'Week 1', lesson 'Stars', unit 'Intro' (vertical/v1.xml): "
        "problem/p1.xml is not valid XML: line 1, column 1: unclosed token",
    ]


def test_error_of_many_faults_lists_fifty_and_counts_the_rest():
    lines = str(CourseError.of([f"fault {number}" for number in range(1051)])).splitlines()
    assert (lines[0], lines[50], lines[51:]) == (
        "1,051 problems:", "- fault 49", ["- and 1,001 more"],
    )  # fmt: skip


def test_policy_that_is_not_json_is_a_fault(tmp_path):
    root = write(tmp_path)
    (root / "policies/2025/policy.json").write_text('{\n  "a": }')
    assert faults_of(root) == [
        "policies/2025/policy.json is not valid JSON: line 2, column 8: Expecting value"
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme.txt": "?"}, "There is no course.xml in '{name}': this is not an OLX course"),
        (
            {"course.xml": "<course"},
            "course.xml is not valid XML: line 1, column 1: unclosed token",
        ),
        (
            {"course.xml": '<course url_name="run"/>'},
            "course.xml: course/run.xml is missing",
        ),
    ],
)
def test_course_without_a_readable_root_is_refused(tmp_path, files, message):
    with pytest.raises(CourseError) as caught:
        read_course(write(tmp_path, files))
    assert str(caught.value) == message.format(name=tmp_path.name)


BILLION_LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE html [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<html>&b;</html>"""
READS_FILES = '<!DOCTYPE html [<!ENTITY f SYSTEM "file:///etc/hostname">]><html>&f;</html>'


@pytest.mark.parametrize("text", [BILLION_LAUGHS, READS_FILES])
def test_document_type_is_refused(tmp_path, text):
    (fault,) = faults_of(write(tmp_path, html__h1=text))
    assert fault.endswith("html/h1.xml has a <!DOCTYPE>, which a course must not use")


def test_nesting_is_limited_in_a_file_and_across_files(tmp_path):
    (fault,) = faults_of(write(tmp_path / "a", html__h1="<html>" * 300 + "</html>" * 300))
    assert fault.endswith("has elements nested more than 200 deep")
    chain = {
        f"wrapper/{n}.xml": f'<wrapper><wrapper url_name="{n + 1}"/></wrapper>' for n in range(300)
    }
    root = write(tmp_path / "b", vertical__v1='<vertical><wrapper url_name="0"/></vertical>')
    with pytest.raises(CourseError, match="nested more than 200 deep"):
        read_course(write(root, chain))


def test_references_that_multiply_are_limited(tmp_path, monkeypatch):
    """Twenty files, each naming the next one ten times, would be 10^20 blocks."""
    monkeypatch.setattr(reader, "MAX_BLOCKS", 1000)
    bomb = {
        f"wrapper/{n}.xml": "<wrapper>" + f'<wrapper url_name="{n + 1}"/>' * 10 + "</wrapper>"
        for n in range(20)
    }
    root = write(tmp_path, vertical__v1='<vertical><wrapper url_name="0"/></vertical>')
    with pytest.raises(CourseError, match="more than 1,000 blocks"):
        read_course(write(root, bomb))


def test_shipped_course_has_no_faults():
    course = read_course(SAMPLE)
    course.tree.check()
    counts = course.tree.counts()
    assert (counts["chapter"], counts["sequential"], counts["vertical"]) == (4, 9, 19)
    assert counts["html"] >= 20 and counts["problem"] >= 15 and counts["video"] == 1
