"""The forms of the home page; each makes a workflow of its fields."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django import forms

from user_workflows.canvas import Workflow

from . import flows, uploads
from .catalog import courses_by_key
from .models import Course
from .olx import CourseError
from .olx.archive import MEGABYTE
from .students import ENROLLED, make_students
from .video import CLIPS, FRAMES_A_SECOND

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class StartForm(forms.Form):
    """A form that starts a workflow; `kind` names it in the page and in its address."""

    kind = ""
    title = ""
    about = ""
    button = ""

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, auto_id=f"{self.kind}-%s", label_suffix="", **kwargs)
        self.user = user

    def workflow(self) -> Workflow:
        """Return the workflow to start."""
        raise NotImplementedError


class CourseForm(StartForm):
    """A form whose first field chooses a course."""

    course = forms.ChoiceField()

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        self.courses = courses_by_key(user)
        self.fields["course"].choices = [  # type: ignore[attr-defined]
            (key, course.title) for key, course in self.courses.items()
        ]

    def clean_course(self) -> Course:
        """Return the course with the chosen key."""
        return self.courses[self.cleaned_data["course"]]


class ExportForm(CourseForm):
    """The form that starts an export."""

    kind = "export"
    title = "Export a course"
    about = "Makes an archive of all chapters and lessons, which any Open edX site can import."
    button = "Export"

    def workflow(self) -> Workflow:
        """Return the export of the chosen course."""
        return flows.export_course(Path(self.cleaned_data["course"].source), self.user)


class ImportForm(StartForm):
    """The form that starts the import of an uploaded archive."""

    kind = "import"
    title = "Import a course"
    about = "Checks every block of a course, reports what is wrong, and adds it to your courses."
    button = "Check and import"

    archive = forms.FileField(
        label="Course archive",
        help_text=f"A .tar.gz as Open edX exports it, at most {uploads.LIMIT // MEGABYTE}\xa0MB.",
        widget=forms.FileInput(attrs={"accept": ".gz,.tgz,application/gzip"}),
    )

    def clean_archive(self) -> Path:
        """Store the archive and return its path; refuse one without a course in it.

        Faults inside the course are not looked for: the workflow reports them by chapter.
        """
        upload = self.cleaned_data["archive"]
        if upload.size > uploads.LIMIT:
            size, limit = upload.size / MEGABYTE, uploads.LIMIT // MEGABYTE
            raise forms.ValidationError(
                f"The archive has {size:,.1f}\xa0MB; the limit is {limit}\xa0MB."
            )
        path = uploads.store(upload)
        try:
            if len(uploads.read_outline(path).key) > 255:
                raise CourseError("The course's key has more than 255 letters")
        except CourseError as error:
            uploads.delete(path)
            raise forms.ValidationError(f"{error}.") from None
        return path

    def workflow(self) -> Workflow:
        """Return the import of the stored archive."""
        return flows.import_course(self.cleaned_data["archive"], self.user)


class MailForm(CourseForm):
    """The form that starts a mailing."""

    kind = "mail"
    title = "Write to all students"
    about = f"Sends {ENROLLED} letters; the report lists the students who could not be reached."
    button = "Send"

    text = forms.CharField(
        label="Your news",
        max_length=2000,
        initial="Clear skies are forecast for Friday. Bring a blanket and a red torch.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def workflow(self) -> Workflow:
        """Return the mailing to all students of the chosen course."""
        course, text = self.cleaned_data["course"], self.cleaned_data["text"]
        return flows.mail_students(course, text, make_students(ENROLLED), self.user)


class TranscodeForm(StartForm):
    """The form that starts the transcoding of a video."""

    kind = "transcode"
    title = "Prepare a video"
    about = "Makes a recording fit for the web, frame by frame."
    button = "Transcode"

    video = forms.ChoiceField(
        choices=[(title, f"{title} ({n // FRAMES_A_SECOND}\xa0s)") for title, n in CLIPS.items()]
    )

    def workflow(self) -> Workflow:
        """Return the transcoding of the chosen video."""
        title = self.cleaned_data["video"]
        return flows.transcode_video(title, CLIPS[title], self.user)


FORMS: dict[str, type[StartForm]] = {
    form.kind: form for form in (ExportForm, ImportForm, MailForm, TranscodeForm)
}
