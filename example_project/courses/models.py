"""The imported courses."""

from django.conf import settings
from django.db import models


class Course(models.Model):
    """A course that one of the site's users has imported."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="courses"
    )
    key = models.CharField(max_length=255)
    title = models.CharField(max_length=255)
    source = models.CharField(max_length=1024, help_text="The folder or archive it came from")
    imported_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "key"], name="courses_of_owner")]

    def __str__(self) -> str:
        return self.title
