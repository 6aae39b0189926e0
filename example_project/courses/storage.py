"""The storage of artifacts, which belong to one user each and so have no public address."""

from django.core.files.storage import FileSystemStorage
from django.urls import reverse


class ArtifactStorage(FileSystemStorage):
    """Files whose URL is that of `courses.views.artifact`, which checks permissions."""

    def url(self, name: str | None) -> str:
        """Return the URL of a file."""
        return reverse("artifact", args=[name])
