"""The Celery application of one side: ``celery -A benchmarks.app worker``."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")

app = Celery("benchmarks")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.imports = ("benchmarks.tasks",)
app.autodiscover_tasks()
