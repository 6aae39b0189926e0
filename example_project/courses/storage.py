"""Where the artifacts are. Each belongs to one user, so none has an address of its own on disk."""

from django.core.files.storage import FileSystemStorage
from django.urls import reverse


class ArtifactStorage(FileSystemStorage):
    """Files whose address leads to `courses.views.artifact`, which asks who may have them."""

    def url(self, name: str | None) -> str:
        """The address of a file."""
        return reverse("artifact", args=[name])
