"""The example site. Importing it makes its Celery application the current one."""

from .celery import app as celery_app

__all__ = ["celery_app"]
