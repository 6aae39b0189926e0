"""The example's URLs; importing those of the site would set the current Celery app."""

from django.urls import include, path

urlpatterns = [
    path("workflows/", include("user_workflows.pages.urls")),
    path("", include("courses.urls")),
]
