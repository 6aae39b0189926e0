"""Django settings of the test suite; environment variables choose the services.

``TEST_DATABASE_URL``    ``sqlite://`` (a temporary file: see ``tests/conftest.py``),
                         ``sqlite:////path``, ``postgres://...``, ``mysql://...`` (MariaDB)
``TEST_BROKER_URL``      Celery's broker, ``memory://`` unless given
``TEST_RESULT_BACKEND``  Celery's result backend, ``cache+memory://`` unless given
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

sys.path.append(str(Path(__file__).resolve().parents[1] / "example_project"))


def database(url: str) -> dict[str, Any]:
    """Return Django's settings for the database at ``url``."""
    parts = urlsplit(url)
    name = unquote(parts.path[1:])
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": name or ":memory:",
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
            },
            "TEST": {"NAME": name or None},
        }
    engine = {"postgres": "postgresql", "mysql": "mysql"}[parts.scheme]
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
    }


SECRET_KEY = "tests"
DEBUG = False
USE_TZ = True
DATABASES = {"default": database(os.environ.get("TEST_DATABASE_URL", "sqlite://"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "mptt",
    "rest_framework",
    "user_workflows",
    "courses",
    "tests",
]
MIDDLEWARE = [
    "tests.csp.strict",
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
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
MEDIA_ROOT = os.path.join(tempfile.gettempdir(), "user-workflows-tests")

CELERY_BROKER_URL = os.environ.get("TEST_BROKER_URL", "memory://")
CELERY_RESULT_BACKEND = os.environ.get("TEST_RESULT_BACKEND", "cache+memory://")
