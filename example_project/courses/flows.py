"""The site's workflows, each a canvas of the tasks in `courses.tasks`.

    status = export_course(Path("night_sky.tar.gz"), user=request.user).delay()

Each function reads the course's outline, which is quick, so that the tree shows all chapters from
the start. If the outline cannot be read, the workflow is submitted all the same, and its first
task fails with the reason.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Signature
from django.contrib.auth import get_user_model
from django.db import transaction

from user_workflows.canvas import Workflow, chain, chord, group, workflow
from user_workflows.models import UserTaskStatus

from . import olx, tasks, workspaces
from .models import Course
from .students import Student

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Json = dict[str, Any]


def export_course(path: Path, user: User) -> Workflow:
    """Return the workflow that archives the course at `path`, a folder or a `.tar.gz`."""
    outline, workspace = _outline(path), str(workspaces.new())
    source, stages = _first_stages(path, workspace)
    if outline and outline.chapters:
        header = [_chapter_chain(chapter, source, workspace) for chapter in outline.chapters]
        body = tasks.assemble.s(source, workspace)
        stages.append(chord(group(header, name="Chapters"), body, name="Export chapters"))
    else:
        stages.append(tasks.assemble.si([], source, workspace))
    stages += [tasks.verify.s(source), tasks.notify.s(workspace)]
    return _course_workflow("Export", stages, path, outline, user)


def import_course(path: Path, user: User) -> Workflow:
    """Return the workflow that checks the course at `path`, and records it if it is sound."""
    outline, workspace = _outline(path), str(workspaces.new())
    source, stages = _first_stages(path, workspace)
    record = tasks.record_course.si(source, str(path), workspace)
    if outline and outline.chapters:
        header = [
            tasks.check_chapter.si(source, _chapter_argument(chapter))
            for chapter in outline.chapters
        ]
        stages.append(chord(group(header, name="Chapters"), record, name="Check chapters"))
    else:
        stages.append(record)
    return _course_workflow("Import", stages, path, outline, user)


def mail_students(course: Course, text: str, students: Sequence[Student], user: User) -> Workflow:
    """Return the workflow that sends `text` to each of the students.

    A letter that cannot be sent is listed in the report and does not stop the others.
    """
    title = course.title
    letters = [tasks.mail_student.si(title, text, student) for student in students]
    report = tasks.report_mailing.s([student["name"] for student in students])
    return workflow(
        chord(group(letters, name="Letters"), report),
        user=user,
        name=f"Mail the students of {title}",
        action="course.mail",
        subject=course.key,
    )


def transcode_video(title: str, frames: int, user: User) -> Workflow:
    """Return the workflow, a single task, that transcodes a video of so many frames."""
    return workflow(
        tasks.transcode.si(title, frames),
        user=user,
        name=f"Transcode {title}",
        action="video.transcode",
        subject=title,
    )


def start_once(flow: Workflow) -> tuple[UserTaskStatus, bool]:
    """Start `flow` unless its user already runs one with this action and subject.

    Two requests at the same moment, as a double click sends them, start one workflow: the second
    waits for the lock on the user until the first has stored its workflow, and then finds it.

    Returns:
        The root of the workflow that runs now, and whether it was started by this call.
    """
    with transaction.atomic():
        get_user_model().objects.select_for_update().get(pk=flow.user_id)
        latest = UserTaskStatus.objects.latest_for(
            flow.user_id, action=flow.action, subject=flow.subject
        )
        if latest is not None and latest.is_active:
            return latest, False
        return flow.delay(), True


def _outline(path: Path) -> olx.Course | None:
    """Return the course's outline, or `None` if it cannot be read."""
    try:
        if path.is_dir():
            return olx.read_outline(path)
        with tempfile.TemporaryDirectory() as folder:
            unpacked = Path(folder) / "outline"
            olx.unpack(path, unpacked, suffix=".xml")
            return olx.read_outline(unpacked)
    except olx.CourseError:
        return None


def _first_stages(path: Path, workspace: str) -> tuple[str, list[Signature]]:
    """Return the folder in which the tasks find the course, and the stages that prepare it."""
    if path.is_dir():
        return str(path), [tasks.read_structure.si(str(path))]
    source = str(Path(workspace) / "source")
    return source, [tasks.unpack_course.si(str(path), source), tasks.read_structure.si(source)]


def _chapter_chain(chapter: olx.Block, source: str, workspace: str) -> Signature:
    """Return the chain that exports a chapter's lessons in order and then packs them."""
    lessons = [
        tasks.export_lesson.si(source, workspace, _lesson_argument(lesson, chapter))
        for lesson in chapter.children
    ]
    pack = tasks.pack_chapter.si(source, workspace, _chapter_argument(chapter))
    return chain(*lessons, pack, name=chapter.title)


def _chapter_argument(chapter: olx.Block) -> Json:
    """Return the argument by which tasks know a chapter."""
    blocks = sum(len(lesson.components()) for lesson in chapter.children)
    return {"url_name": chapter.url_name, "title": chapter.title, "blocks": blocks}


def _lesson_argument(lesson: olx.Block, chapter: olx.Block) -> Json:
    """Return the argument by which tasks know a lesson of `chapter`."""
    return {
        "chapter": chapter.url_name,
        "url_name": lesson.url_name,
        "title": lesson.title,
        "blocks": len(lesson.components()),
    }


def _course_workflow(
    verb: str, stages: list[Signature], path: Path, outline: olx.Course | None, user: User
) -> Workflow:
    """Return a chain of `stages`, named and keyed by the outline or else by the file."""
    title, subject = (outline.title, outline.key) if outline else (path.name, path.name)
    return workflow(
        chain(*stages),
        user=user,
        name=f"{verb} {title}",
        action=f"course.{verb.lower()}",
        subject=subject,
    )
