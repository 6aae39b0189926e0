"""The courses that this site knows."""

from django.db import models


class Course(models.Model):
    """A course that was imported."""

    key = models.CharField(max_length=255, unique=True)
    title = models.CharField(max_length=255)
    source = models.CharField(max_length=1024, help_text="The folder or archive it came from")
    imported_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.title
