"""The site's workflows, each a canvas of the tasks in `courses.tasks`.

    status = export_course(Path("night_sky.tar.gz"), user=request.user).delay()

To show the whole tree from the start, the course's outline is read here, quickly. If it cannot
be read, the first stage will say why.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """The workflow that makes an archive of the course at `path`, a folder or `.tar.gz`."""
    outline, workspace = _outline(path), str(workspaces.new())
    source, stages = _opening(path, workspace)
    if outline and outline.chapters:
        header = [_export_chapter(chapter, source, workspace) for chapter in outline.chapters]
        body = tasks.assemble.s(source, workspace)
        stages.append(chord(group(header, name="Chapters"), body, name="Export chapters"))
    else:
        stages.append(tasks.assemble.si([], source, workspace))
    stages += [tasks.verify.s(source), tasks.notify.s(workspace)]
    return _workflow("Export", stages, path, outline, user)


def import_course(path: Path, user: User) -> Workflow:
    """The workflow that checks the course at `path` and records it."""
    outline, workspace = _outline(path), str(workspaces.new())
    source, stages = _opening(path, workspace)
    record = tasks.record_course.si(source, str(path), workspace)
    if outline and outline.chapters:
        header = [
            tasks.check_chapter.si(source, _described(chapter)) for chapter in outline.chapters
        ]
        stages.append(chord(group(header, name="Chapters"), record, name="Check chapters"))
    else:
        stages.append(record)
    return _workflow("Import", stages, path, outline, user)


def mail_students(course: Course, text: str, students: Sequence[Student], user: User) -> Workflow:
    """The workflow that writes to all students of a course.

    A letter that cannot be sent is told in the report and does not stop the others.
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
    """The workflow, a single task, that makes a video of so many frames fit for the web."""
    return workflow(
        tasks.transcode.si(title, frames),
        user=user,
        name=f"Transcode {title}",
        action="video.transcode",
        subject=title,
    )


def start_once(flow: Workflow) -> tuple[UserTaskStatus, bool]:
    """Start `flow`, unless its user has the same under way: then that is returned, with `False`.

    Of two requests at the same moment, as a double click sends them, the second one waits here
    until the first has stored its workflow, and then finds it.
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
    """The course's outline; `None` if it has none that can be read."""
    try:
        if path.is_dir():
            return olx.read_outline(path)
        with tempfile.TemporaryDirectory() as folder:
            unpacked = Path(folder) / "outline"
            olx.unpack(path, unpacked, suffix=".xml")
            return olx.read_outline(unpacked)
    except olx.CourseError:
        return None


def _opening(path: Path, workspace: str) -> tuple[str, list[Any]]:
    """Where the tasks will find the course, and the stages that bring it there."""
    if path.is_dir():
        return str(path), [tasks.read_structure.si(str(path))]
    source = str(Path(workspace) / "source")
    return source, [tasks.unpack_course.si(str(path), source), tasks.read_structure.si(source)]


def _export_chapter(chapter: olx.Block, source: str, workspace: str) -> Any:
    """The chain of a chapter: its lessons one after another, then their packing."""
    lessons = [
        tasks.export_lesson.si(source, workspace, _described(lesson, chapter))
        for lesson in chapter.children
    ]
    pack = tasks.pack_chapter.si(source, workspace, _described(chapter))
    return chain(*lessons, pack, name=chapter.title)


def _described(block: olx.Block, chapter: olx.Block | None = None) -> Json:
    """What the tasks of a chapter, or of a lesson in a `chapter`, are told about it."""
    if chapter is not None:
        return {
            "chapter": chapter.url_name,
            "url_name": block.url_name,
            "title": block.title,
            "blocks": len(block.components()),
        }
    blocks = sum(len(lesson.components()) for lesson in block.children)
    return {"url_name": block.url_name, "title": block.title, "blocks": blocks}


def _workflow(
    verb: str, stages: list[Any], path: Path, outline: olx.Course | None, user: User
) -> Workflow:
    title, subject = (outline.title, outline.key) if outline else (path.name, path.name)
    return workflow(
        chain(*stages),
        user=user,
        name=f"{verb} {title}",
        action=f"course.{verb.lower()}",
        subject=subject,
    )
