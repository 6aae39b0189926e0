"""What can be started, each as a form that makes a workflow of what was filled in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django import forms

from user_workflows.canvas import Workflow

from . import flows, uploads
from .catalog import courses_of
from .models import Course
from .olx import CourseError
from .olx.archive import MEGABYTE
from .students import ENROLLED, roll
from .video import CLIPS, FRAMES_A_SECOND

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class StartForm(forms.Form):
    """A form on the home page; `kind` is its name there."""

    kind = ""
    title = ""
    about = ""
    button = ""

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, auto_id=f"{self.kind}-%s", label_suffix="", **kwargs)
        self.user = user

    def workflow(self) -> Workflow:
        """What was asked for, to be started."""
        raise NotImplementedError


class CourseForm(StartForm):
    """A form that begins with the choice of a course."""

    course = forms.ChoiceField()

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        self.courses = courses_of(user)
        self.fields["course"].choices = [  # type: ignore[attr-defined]
            (key, course.title) for key, course in self.courses.items()
        ]

    def clean_course(self) -> Course:
        """The course of that key."""
        return self.courses[self.cleaned_data["course"]]


class ExportForm(CourseForm):
    """Starts an export."""

    kind = "export"
    title = "Export a course"
    about = "Makes an archive of all chapters and lessons, which any Open edX site can import."
    button = "Export"

    def workflow(self) -> Workflow:
        """Its lessons are exported at the same time, chapter by chapter."""
        return flows.export_course(Path(self.cleaned_data["course"].source), self.user)


class ImportForm(StartForm):
    """Starts the import of an archive."""

    kind = "import"
    title = "Import a course"
    about = "Reads every block of a course, tells what is wrong with it, and adds it to yours."
    button = "Check and import"

    archive = forms.FileField(
        label="Course archive",
        help_text=f"A .tar.gz as Open edX exports it, at most {uploads.LIMIT // MEGABYTE}\xa0MB.",
        widget=forms.FileInput(attrs={"accept": ".gz,.tgz,application/gzip"}),
    )

    def clean_archive(self) -> Path:
        """Where the archive was stored, if there is a course in it.

        What is wrong inside of the course the workflow will say, chapter by chapter.
        """
        upload = self.cleaned_data["archive"]
        if upload.size > uploads.LIMIT:
            size, most = upload.size / MEGABYTE, uploads.LIMIT // MEGABYTE
            raise forms.ValidationError(f"The archive has {size:,.1f}\xa0MB, of {most} allowed.")
        path = uploads.keep(upload)
        try:
            if len(uploads.outline(path).key) > 255:
                raise CourseError("The course's key has more than 255 letters")
        except CourseError as error:
            uploads.remove(path)
            raise forms.ValidationError(f"{error}.") from None
        return path

    def workflow(self) -> Workflow:
        """Its chapters are checked at the same time."""
        return flows.import_course(self.cleaned_data["archive"], self.user)


class MailForm(CourseForm):
    """Starts a mailing."""

    kind = "mail"
    title = "Write to all students"
    about = f"Sends a letter to each of {ENROLLED}; who cannot be reached is told in the report."
    button = "Send"

    text = forms.CharField(
        label="Your news",
        max_length=2000,
        initial="Clear skies are forecast for Friday. Bring a blanket and a red torch.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def workflow(self) -> Workflow:
        """A task for each student."""
        course, text = self.cleaned_data["course"], self.cleaned_data["text"]
        return flows.mail_students(course, text, roll(ENROLLED), self.user)


class TranscodeForm(StartForm):
    """Starts the transcoding of a video."""

    kind = "transcode"
    title = "Prepare a video"
    about = "Makes a recording fit for the web, frame by frame."
    button = "Transcode"

    video = forms.ChoiceField(
        choices=[(title, f"{title} ({n // FRAMES_A_SECOND}\xa0s)") for title, n in CLIPS.items()]
    )

    def workflow(self) -> Workflow:
        """A single task of many steps."""
        title = self.cleaned_data["video"]
        return flows.transcode_video(title, CLIPS[title], self.user)


FORMS: dict[str, type[StartForm]] = {
    form.kind: form for form in (ExportForm, ImportForm, MailForm, TranscodeForm)
}
