"""The tasks of the site's workflows, with names that a course author understands.

Arguments and results are JSON. A chapter or lesson is passed as a small dictionary that
`courses.flows` makes: `title` and `blocks` are known at submission, so that each task has its
name and its number of steps before it runs.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from celery import shared_task
from django.conf import settings
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.mail import send_mail

from user_workflows.tasks import UserTask

from . import olx, workspaces
from .models import Course
from .olx.model import plural
from .reports import counts_table
from .students import Student
from .video import FRAMES_A_SECOND, AnimatedPNG, raw_frame

Json = dict[str, Any]


class MailError(Exception):
    """A letter that cannot be sent; the message is written for its sender."""


class CourseTask(UserTask):
    """A task named by its `label`, a format string for its arguments."""

    abstract = True
    label = ""
    throws = (olx.CourseError, MailError)

    @classmethod
    def generate_name(cls, arguments_dict: Json) -> str:
        """Return the label with the arguments filled in."""
        return cls.label.format_map(arguments_dict)

    def add_file(self, name: str, path: Path, content_type: str) -> None:
        """Store a copy of the file at `path` as an artifact."""
        with path.open("rb") as file:
            self.status.add_artifact(
                name, file=File(file, name=path.name), content_type=content_type
            )


class BlocksTask(CourseTask):
    """A task whose steps are the blocks of its lesson or chapter."""

    abstract = True

    @classmethod
    def calculate_total_steps(cls, arguments_dict: Json) -> int:
        """Return the number of blocks, or 1 if there are none."""
        part = arguments_dict.get("lesson") or arguments_dict["chapter"]
        return max(1, int(part["blocks"]))

    def track_blocks(self, blocks: Sequence[olx.Block]) -> Iterator[olx.Block]:
        """Yield the blocks and count steps, with a pause of `EXAMPLE_PACE` before each."""
        for block in self.track(blocks):
            time.sleep(settings.EXAMPLE_PACE)
            yield block


@shared_task(bind=True, base=CourseTask, label="Unpack archive")
def unpack_course(self: CourseTask, archive: str, source: str) -> None:
    """Unpack `archive`, which is not trusted, into `source`."""
    target = Path(source)
    shutil.rmtree(target, ignore_errors=True)  # left by an earlier attempt
    olx.unpack(Path(archive), target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    listing = "\n".join(path.relative_to(target).as_posix() for path in files)
    self.status.add_artifact("Contents", text=listing, content_type="text/plain")


@shared_task(bind=True, base=CourseTask, label="Read course structure")
def read_structure(self: CourseTask, source: str) -> None:
    """Read the whole course and store its structure as an artifact.

    Only faults of the course itself fail this task. Faults in a chapter are listed in an artifact
    and fail that chapter's own tasks, so that the other chapters are still processed.
    """
    course = olx.read_course(source)
    structure = {"key": course.key, "blocks": course.tree.counts(), "course": course.tree.as_dict()}
    content = json.dumps(structure, indent=2, ensure_ascii=False).encode()
    self.status.add_artifact(
        "Structure",
        file=ContentFile(content, name="structure.json"),
        content_type="application/json",
    )
    if faults := course.tree.all_faults():
        self.status.add_artifact("Problems", text="\n".join(faults), content_type="text/plain")
    if course.tree.faults:
        raise olx.CourseError.of(list(course.tree.faults))


@shared_task(bind=True, base=BlocksTask, label="{lesson[title]}")
def export_lesson(self: BlocksTask, source: str, workspace: str, lesson: Json) -> None:
    """Copy the files of one lesson to its chapter's staging folder, block by block."""
    root = olx.find_root(source)
    chapter = olx.read_chapter(root, lesson["chapter"])
    found = [block for block in chapter.children if block.url_name == lesson["url_name"]]
    if not found:
        raise olx.CourseError(f"Lesson '{lesson['title']}' is not in the course any more")
    found[0].check()
    folder = _staging(workspace, lesson["chapter"])
    olx.stage(root, found[0].files, folder)
    for unit in found[0].children:
        olx.stage(root, unit.files, folder)
    for block in self.track_blocks(found[0].components()):
        olx.stage(root, block.all_files(), folder)
    report = counts_table(found[0].counts())
    self.status.add_artifact("Exported blocks", text=report, content_type="text/plain")


@shared_task(bind=True, base=CourseTask, label="Pack chapter")
def pack_chapter(self: CourseTask, source: str, workspace: str, chapter: Json) -> str:
    """Pack the chapter's staged files and return the path of the part."""
    root = olx.find_root(source)
    block = olx.read_chapter(root, chapter["url_name"])
    folder = _staging(workspace, chapter["url_name"])
    block.check()
    olx.stage(root, block.files, folder)
    part = olx.pack_chapter(block, folder, folder.with_name(f"{folder.name}.tar.gz"))
    self.add_file("Chapter", part.path, "application/gzip")
    return str(part.path)


@shared_task(bind=True, base=CourseTask, label="Assemble archive")
def assemble(self: CourseTask, parts: list[str], source: str, workspace: str) -> Json:
    """Write the course's archive from the chapters' parts and the shared files."""
    course = olx.read_course(source)
    course.tree.check()
    target = Path(workspace) / olx.archive_name(course)
    packed = olx.assemble(olx.find_root(source), course, [Path(part) for part in parts], target)
    self.add_file("Course archive", packed.path, "application/gzip")
    return {"archive": str(packed.path), "files": packed.files, "size": packed.size}


@shared_task(bind=True, base=CourseTask, label="Verify archive")
def verify(self: CourseTask, packed: Json, source: str) -> Json:
    """Read the archive back; fail unless it is complete and every reference resolves."""
    course = olx.verify(Path(packed["archive"]), olx.read_course(source))
    report = (
        f"{course.title} ({course.key})\n"
        f"{plural(packed['files'], 'file')}, {plural(packed['size'], 'byte')}; "
        f"every reference resolves.\n\n{counts_table(course.tree.counts())}"
    )
    self.status.add_artifact("Verification report", text=report, content_type="text/plain")
    return {"title": course.title, "report": report}


@shared_task(bind=True, base=CourseTask, label="Notify", allow_failure=True)
def notify(self: CourseTask, result: Json, workspace: str) -> None:
    """Email the user that the export is ready, and remove the workspace."""
    workspaces.remove(Path(workspace))
    user = self.status.user
    subject = f"{result['title']} is exported"
    self.status.add_artifact("Message", text=subject, content_type="text/plain")
    if user.email:
        send_mail(subject, result["report"], None, [user.email])


@shared_task(bind=True, base=BlocksTask, label="{chapter[title]}")
def check_chapter(self: BlocksTask, source: str, chapter: Json) -> None:
    """Read a chapter completely; fail with a list of its faults."""
    block = olx.read_chapter(source, chapter["url_name"])
    for _ in self.track_blocks([part for lesson in block.children for part in lesson.components()]):
        pass
    block.check()
    report = counts_table(block.counts())
    self.status.add_artifact("Checked blocks", text=report, content_type="text/plain")


@shared_task(bind=True, base=CourseTask, label="Record course")
def record_course(self: CourseTask, source: str, origin: str, workspace: str) -> Json:
    """Record the course, which must be sound, as imported by the user from `origin`."""
    course = olx.read_course(source)
    course.tree.check()
    Course.objects.update_or_create(
        owner=self.status.user,
        key=course.key,
        defaults={"title": course.title[:255], "source": origin},
    )
    report = f"{course.title} ({course.key})\n\n{counts_table(course.tree.counts())}"
    self.status.add_artifact("Import report", text=report, content_type="text/plain")
    workspaces.remove(Path(workspace))
    return {"key": course.key, "title": course.title}


@shared_task(bind=True, base=CourseTask, label="{student[name]}", allow_failure=True)
def mail_student(self: CourseTask, title: str, text: str, student: Student) -> bool:
    """Send the letter to one student."""
    time.sleep(settings.EXAMPLE_PACE)
    if not student["email"]:
        raise MailError(f"{student['name']} has no email address")
    letter = f"Dear {student['name']},\n\n{text}\n"
    send_mail(f"News of {title}", letter, None, [student["email"]])
    return True


@shared_task(bind=True, base=CourseTask, label="Report")
def report_mailing(self: CourseTask, sent: list[bool | None], names: list[str]) -> int:
    """List the students who were not reached, and return the number of letters sent."""
    missed = [name for name, done in zip(names, sent, strict=True) if not done]
    lines = [f"{len(names) - len(missed)} of {plural(len(names), 'letter')} sent.", *missed]
    self.status.add_artifact("Mailing report", text="\n".join(lines), content_type="text/plain")
    return len(names) - len(missed)


class VideoTask(CourseTask):
    """A task whose steps are the frames of its video."""

    abstract = True

    @classmethod
    def calculate_total_steps(cls, arguments_dict: Json) -> int:
        """Return the number of frames."""
        return int(arguments_dict["frames"])


@shared_task(bind=True, base=VideoTask, label="Transcode {title}")
def transcode(self: VideoTask, title: str, frames: int) -> None:
    """Write the video's frames to an animated PNG and store it as an artifact."""
    with tempfile.TemporaryFile() as file:
        video = AnimatedPNG(file, frames)
        for number in self.track(range(frames)):
            if number % (2 * FRAMES_A_SECOND) == 0:
                self.status.set_state(f"Second {number // FRAMES_A_SECOND}")
            time.sleep(settings.EXAMPLE_PACE / 4)
            video.add(raw_frame(number))
        video.close()
        file.seek(0)
        name = f"{quote(title, safe=' ')}.png"
        self.status.add_artifact("Video", file=File(file, name=name), content_type="image/png")


def _staging(workspace: str, chapter: str) -> Path:
    """Return the folder in which the files of a chapter are staged."""
    return Path(workspace) / f"chapter-{quote(chapter, safe='')}"
