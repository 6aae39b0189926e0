"""The URLs of the test site."""

from typing import Any

from django.contrib import admin
from django.http import HttpResponse
from django.template import Context, Template
from django.urls import include, path

from user_workflows.models import UserTaskStatus

WIDGET = (
    "{% load user_workflows %}<!doctype html><title>A page</title>{% workflow_assets %}"
    "{% workflow_progress status %}"
)


def widget(request: Any, pk: int) -> HttpResponse:
    """Render a site's own page with the progress of a workflow."""
    return HttpResponse(
        Template(WIDGET).render(Context({"status": UserTaskStatus.objects.get(pk=pk)}))
    )


urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("user_workflows.urls")),
    path("tasks/", include("user_workflows.pages.urls")),
    path("widget/<int:pk>/", widget),
]
