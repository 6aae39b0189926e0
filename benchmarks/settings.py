"""Django settings of one side; the environment gives the side and its services.

``BENCH_SIDE``          ``ours``, ``user_tasks`` or ``plain``
``BENCH_DATABASE_URL``  of PostgreSQL; the database is made if it is missing
``BENCH_REDIS_URL``     broker and result backend
``BENCH_KEEP``          tasks that a worker keeps its database connection for; unset: it closes
                        the connection around each task, as Celery does
``BENCH_DURABLE``       ``1``: commits wait for the disk. By default they do not, on no side: on a
                        shared disk that wait is most of what there is to measure, and is another
                        each time
"""

import os
from urllib.parse import unquote, urlsplit

SIDE = os.environ.get("BENCH_SIDE", "ours")
APPS = {"ours": ["mptt", "user_workflows"], "user_tasks": ["user_tasks"], "plain": []}

SECRET_KEY = "benchmarks"
USE_TZ = True
_database = urlsplit(
    os.environ.get("BENCH_DATABASE_URL", "postgres://postgres:postgres@127.0.0.1:5432/uw_bench")
)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(_database.path[1:]),
        "USER": unquote(_database.username or ""),
        "PASSWORD": unquote(_database.password or ""),
        "HOST": _database.hostname or "",
        "PORT": _database.port or "",
    }
}
if not os.environ.get("BENCH_DURABLE"):
    DATABASES["default"]["OPTIONS"] = {"options": "-c synchronous_commit=off"}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    *APPS[SIDE],
]
ROOT_URLCONF = "benchmarks.urls"
ALLOWED_HOSTS = ["testserver"]
REST_FRAMEWORK = {
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
    "PAGE_SIZE": 50,
}

CELERY_BROKER_URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/8")
CELERY_RESULT_BACKEND = CELERY_BROKER_URL
CELERY_RESULT_EXPIRES = 600
CELERY_TASK_DEFAULT_QUEUE = f"bench-{SIDE}"
CELERY_CONTROL_EXCHANGE = f"bench-{SIDE}"
CELERY_WORKER_SEND_TASK_EVENTS = False
if "BENCH_KEEP" in os.environ:
    CELERY_DB_REUSE_MAX = int(os.environ["BENCH_KEEP"])
