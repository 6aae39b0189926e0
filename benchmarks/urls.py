"""The URLs of the side's REST API, if it has one."""

from importlib import import_module

from django.conf import settings

_MODULE = {"ours": "user_workflows.urls", "user_tasks": "user_tasks.urls"}.get(settings.SIDE)
urlpatterns = list(import_module(_MODULE).urlpatterns) if _MODULE else []
