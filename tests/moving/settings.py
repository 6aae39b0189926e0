"""Django settings of a site that has django-user-tasks and this app side by side."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "user_tasks", "tests.moving"]
ROOT_URLCONF = "tests.moving.urls"
# Under protocol 2 django-user-tasks does not see chains.
CELERY_TASK_PROTOCOL = 1
