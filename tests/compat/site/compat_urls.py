"""The app's REST URLs at the root, as in django-user-tasks' own test site, and the admin."""

import os

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include(f"{os.environ['COMPAT_PACKAGE']}.urls")),
]
