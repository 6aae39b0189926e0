"""The APIs of both apps: links lead to the one that comes last."""

from django.urls import include, path

urlpatterns = [
    path("old/", include("user_tasks.urls")),
    path("api/", include("user_workflows.urls")),
]
