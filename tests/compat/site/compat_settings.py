"""Settings as django-user-tasks' tests expect them, with Celery's settings read live."""

import os
from pathlib import Path

from celery import Celery

HERE = Path(__file__).resolve().parent

SECRET_KEY = "compat"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "mptt",
    "rest_framework",
    "rules",
    os.environ["COMPAT_PACKAGE"],
]
AUTHENTICATION_BACKENDS = [
    "rules.permissions.ObjectPermissionBackend",
    "django.contrib.auth.backends.ModelBackend",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.request",
            ]
        },
    }
]
ROOT_URLCONF = "compat_urls"
MEDIA_ROOT = str(HERE / "media")

BROKER_URL = "memory://"
CELERY_RESULT_BACKEND = "cache+memory://"
CELERY_TASK_PROTOCOL = int(os.environ["COMPAT_PROTOCOL"])

# Without a namespace, Celery reads each setting when it needs it, so that the tests'
# ``override_settings(CELERY_ALWAYS_EAGER=True)`` has an effect.
app = Celery("compat")
app.config_from_object("django.conf:settings")
app.autodiscover_tasks()
