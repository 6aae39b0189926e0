"""The example's addresses, without importing the site: that sets the current Celery app."""

from django.urls import include, path

urlpatterns = [
    path("workflows/", include("user_workflows.pages.urls")),
    path("", include("courses.urls")),
]
