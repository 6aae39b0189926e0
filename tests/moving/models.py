"""A model of the site that refers to statuses, as the how-to has it."""

from django.db import models


class Export(models.Model):
    """An export, with the status of its task: first the old one, then the new one, too."""

    task = models.ForeignKey("user_tasks.UserTaskStatus", on_delete=models.CASCADE)
    workflow = models.ForeignKey(
        "user_workflows.UserTaskStatus", null=True, on_delete=models.CASCADE
    )


class Protecting(models.Model):
    """Of an app that does not want to lose its statuses and artifacts."""

    status = models.ForeignKey("user_workflows.UserTaskStatus", null=True, on_delete=models.PROTECT)
    artifact = models.ForeignKey(
        "user_workflows.UserTaskArtifact", null=True, on_delete=models.PROTECT
    )


class Restricting(models.Model):
    """The same, with the other of Django's two words for it."""

    status = models.ForeignKey("user_workflows.UserTaskStatus", on_delete=models.RESTRICT)
