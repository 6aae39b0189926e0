"""The URLs of the test site."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("user_workflows.urls")),
    path("tasks/", include("user_workflows.pages.urls")),
]
