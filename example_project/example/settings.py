"""Settings of the example site, which needs no service: SQLite and a message broker in files.

Environment variables, all optional:

`EXAMPLE_VAR`     the folder for everything the site writes
`EXAMPLE_PACE`    seconds to pause before each block, so that progress can be watched
`DATABASE_URL`    `postgres://user:password@host/name`, `mysql://...`, `sqlite:///...`
`BROKER_URL`      `redis://...`, `amqp://...`
`RESULT_BACKEND`  `redis://...`, ...
"""

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from . import broker  # noqa: F401 - registers files://
from .databases import database

BASE_DIR = Path(__file__).resolve().parent.parent
EXAMPLE_VAR = Path(os.environ.get("EXAMPLE_VAR") or BASE_DIR / "var").resolve()
EXAMPLE_PACE = float(os.environ.get("EXAMPLE_PACE") or 0)

SECRET_KEY = os.environ.get("SECRET_KEY", "not a secret: this site is an example")
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
TIME_ZONE = "UTC"
USE_TZ = True

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
    *(name for name in ("django_filters", "drf_spectacular") if find_spec(name)),
]
REST_FRAMEWORK = {
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
    "PAGE_SIZE": 50,
    **(
        {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
        if find_spec("drf_spectacular")
        else {}
    ),
}
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "example.policy.content_security_policy",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "example.urls"
WSGI_APPLICATION = "example.wsgi.application"
LOGIN_URL, LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "login", "home", "login"
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]

MEDIA_ROOT = EXAMPLE_VAR / "media"
"""The folder of artifacts; no MEDIA_URL, because each belongs to one user."""
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "user_workflow_artifacts": {"BACKEND": "courses.storage.ArtifactStorage"},
}
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = EXAMPLE_VAR / "mail"

DATABASES = {
    "default": database(
        os.environ.get("DATABASE_URL") or f"sqlite:///{quote(str(EXAMPLE_VAR))}/db.sqlite3"
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CELERY_BROKER_URL = os.environ.get("BROKER_URL") or "files://"
CELERY_RESULT_BACKEND = os.environ.get("RESULT_BACKEND") or f"file://{EXAMPLE_VAR}/results"
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_RESULT_CHORD_RETRY_INTERVAL = 0.2
if CELERY_BROKER_URL == "files://":
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(EXAMPLE_VAR / "broker"),
        "data_folder_out": str(EXAMPLE_VAR / "broker"),
        "control_folder": str(EXAMPLE_VAR / "control"),
        "polling_interval": 0.05,
    }

for folder in ("broker", "control", "results", "media", "mail"):
    (EXAMPLE_VAR / folder).mkdir(parents=True, exist_ok=True)
