"""The URLs of the status pages."""

from django.urls import include, path

urlpatterns = [path("workflows/", include("user_workflows.pages.urls"))]
