"""The site's workflows, run eagerly."""

import tarfile
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from celery import current_app
from django.apps import apps
from django.core import mail
from django.core.management import CommandError, call_command

from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase

if not apps.is_installed("courses"):
    pytest.skip("the site's courses app is not in INSTALLED_APPS", allow_module_level=True)

from courses.accounts import demo_user
from courses.flows import export_course, import_course
from courses.models import Course
from courses.olx import CourseError, read_course, unpack

from .samples import SAMPLE, real_course, write

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def site(settings, tmp_path):
    """The site's settings for eager tasks, in a folder of its own."""
    settings.EXAMPLE_VAR = tmp_path / "var"
    settings.EXAMPLE_PACE = 0
    settings.MEDIA_ROOT = tmp_path / "media"
    eager = current_app.conf.task_always_eager
    current_app.conf.task_always_eager = True
    yield
    current_app.conf.task_always_eager = eager


def run(flow):
    """Submit a flow and return its root; in eager mode a failing task raises here."""
    try:
        return flow.delay()
    except CourseError:
        return UserTaskStatus.objects.roots().latest("pk")


def export(path):
    return run(export_course(path, demo_user())).tree()


def tar(path, *roots, evil=None):
    with tarfile.open(path, "w:gz") as archive:
        for root in roots:
            archive.add(root, "course")
        if evil is not None:
            archive.addfile(tarfile.TarInfo(evil), BytesIO())
    return path


def lines(node, depth=0):
    """Return the tree as text: one line for each node, indented."""
    line = "  " * depth + f"{node.node_type} {node.name}: {node.phase}"
    return [line, *(below for child in node.children for below in lines(child, depth + 1))]


def errors(root):
    status = UserTaskStatus.objects.get(uuid=root.uuid)
    return [artifact.text for artifact in status.subtree_artifacts("Error")]


def test_export_tree_has_the_names_of_the_course(tmp_path):
    root = export(write(tmp_path / "course"))
    assert lines(root) == [
        "chain Export Small course: SUCCEEDED",
        "  task Read course structure: SUCCEEDED",
        "  chord Export chapters: SUCCEEDED",
        "    group Chapters: SUCCEEDED",
        "      chain Week 1: SUCCEEDED",
        "        task Stars: SUCCEEDED",
        "        task Pack chapter: SUCCEEDED",
        "      chain Week 2: SUCCEEDED",
        "        task Moons: SUCCEEDED",
        "        task Pack chapter: SUCCEEDED",
        "    task Assemble archive: SUCCEEDED",
        "  task Verify archive: SUCCEEDED",
        "  task Notify: SUCCEEDED",
    ]


def test_export_plan_has_all_names_and_steps():
    plan = export_course(SAMPLE, demo_user()).plan
    steps = {leaf.name: leaf.total_steps for leaf in plan.leaves()}
    assert len(list(plan.leaves())) == 17
    assert (steps["Welcome"], steps["Far away"], steps["Verify archive"]) == (4, 5, 1)


def test_exported_archive_equals_the_course(tmp_path):
    status = run(export_course(SAMPLE, demo_user()))
    status.refresh_from_db()
    assert (status.action, status.subject) == (
        "course.export", "course-v1:UserWorkflows+NIGHT101+2025",
    )  # fmt: skip
    tree = status.tree()
    assert tree.completed_steps == tree.total_steps == 47
    artifact = status.subtree_artifacts("Course archive").get()
    assert (artifact.content_type, artifact.size) == ("application/gzip", artifact.file.size)
    unpack(Path(artifact.file.path), tmp_path / "again")
    assert read_course(tmp_path / "again") == read_course(SAMPLE)
    report = status.subtree_artifacts("Verification report").get().text
    assert "103 files" in report and "21  html" in report
    assert status.subtree_artifacts("Chapter").count() == 4
    assert [message.subject for message in mail.outbox] == ["Watching the Night Sky is exported"]


def test_export_of_an_archive_succeeds_and_removes_its_workspace(tmp_path):
    root = export(tar(tmp_path / "a.tar.gz", SAMPLE))
    assert root.phase == Phase.SUCCEEDED
    assert root.children[0].name == "Unpack archive"
    assert list((tmp_path / "var" / "work").iterdir()) == []


def test_real_course_is_exported_and_imported():
    source = real_course()
    root = export(source)
    assert root.phase == Phase.SUCCEEDED
    assert root.completed_steps == root.total_steps
    assert run(import_course(source, demo_user())).tree().phase == Phase.SUCCEEDED


def test_broken_lesson_fails_with_its_place_and_skips_dependents(tmp_path):
    root = export(write(tmp_path / "course", html__h1=None))
    assert lines(root)[:7] == [
        "chain Export Small course: FAILED",
        "  task Read course structure: SUCCEEDED",
        "  chord Export chapters: FAILED",
        "    group Chapters: FAILED",
        "      chain Week 1: FAILED",
        "        task Stars: FAILED",
        "        task Pack chapter: SKIPPED",
    ]
    assert lines(root)[-3:] == [
        "    task Assemble archive: SKIPPED",
        "  task Verify archive: SKIPPED",
        "  task Notify: SKIPPED",
    ]
    place = "Chapter 'Week 1', lesson 'Stars', unit 'Intro' (vertical/v1.xml)"
    assert errors(root) == [f"{place}: html/h1.xml is missing"]


def test_unreadable_chapter_is_in_the_tree_and_fails(tmp_path):
    root = export(write(tmp_path / "course", chapter__week2="<chapter>"))
    assert "      chain week2: FAILED" in lines(root)
    assert errors(root) == [
        "course/2025.xml: chapter/week2.xml is not valid XML: line 1, column 10: no element found"
    ]


@pytest.mark.parametrize("make", [export_course, import_course])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"course": "<course"}, "course.xml is not valid XML: line 1, column 1: unclosed token"),
        ({"course/2025": None}, "course.xml: course/2025.xml is missing"),
        ({"course": None}, "There is no course.xml in 'source': this is not an OLX course"),
    ],
)
def test_unreadable_course_fails_at_the_first_stage(tmp_path, make, changed, message):
    write(tmp_path / "source", **{key.replace("/", "__"): text for key, text in changed.items()})
    root = run(make(tmp_path / "source", demo_user())).tree()
    phases = [leaf.phase for leaf in root.children]
    assert phases[0] == Phase.FAILED
    assert set(phases[1:]) == {Phase.SKIPPED}
    assert errors(root) == [message]


@pytest.mark.parametrize("make", [export_course, import_course])
def test_archive_with_a_path_outside_of_it_fails(tmp_path, make):
    archive = tar(tmp_path / "a.tar.gz", SAMPLE, evil="course/../../evil")
    root = run(make(archive, demo_user())).tree()
    assert (root.children[0].name, root.children[0].phase) == ("Unpack archive", Phase.FAILED)
    assert errors(root) == ["The archive is unsafe: 'course/../../evil' points outside of it"]
    assert list(tmp_path.rglob("evil*")) == []
    assert Course.objects.count() == 0


def test_export_without_a_mail_server_is_partial(tmp_path, settings):
    settings.EMAIL_BACKEND = "no.such.Backend"
    root = export(write(tmp_path / "course"))
    assert root.phase == Phase.PARTIAL
    assert root.children[-1].phase == Phase.FAILED


def test_import_checks_each_chapter_and_records_the_course_once(tmp_path):
    for _ in range(2):
        root = run(import_course(write(tmp_path / "course"), demo_user())).tree()
    assert lines(root) == [
        "chain Import Small course: SUCCEEDED",
        "  task Read course structure: SUCCEEDED",
        "  chord Check chapters: SUCCEEDED",
        "    group Chapters: SUCCEEDED",
        "      task Week 1: SUCCEEDED",
        "      task Week 2: SUCCEEDED",
        "    task Record course: SUCCEEDED",
    ]
    course = Course.objects.get()
    assert (course.key, course.title) == ("course-v1:X+CS101+2025", "Small course")
    assert course.source == str(tmp_path / "course")


def test_import_of_a_broken_course_records_nothing(tmp_path):
    root = run(import_course(write(tmp_path / "course", problem__p2="<p>"), demo_user())).tree()
    assert root.phase == Phase.FAILED
    assert errors(root)[0].endswith("problem/p2.xml is not valid XML: line 1, column 4: "
                                    "no element found")  # fmt: skip
    assert Course.objects.count() == 0


def test_commands_submit_and_print_the_uuid(tmp_path):
    for command in ("export_course", "import_course"):
        output = StringIO()
        call_command(command, str(write(tmp_path / "course")), stdout=output)
        assert UserTaskStatus.objects.roots().filter(uuid=output.getvalue().strip()).exists()
    with pytest.raises(CommandError, match="There is no file or folder"):
        call_command("export_course", str(tmp_path / "gone"))
