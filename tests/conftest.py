"""What all tests share."""

import os
import signal
from importlib.util import find_spec

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection

# The suite of django-user-tasks, which has a runner and a site of its own; and what needs that app
# installed beside this one: `pytest --ds tests.moving.settings tests/moving`.
collect_ignore = ["compat"]
if not apps.is_installed("user_tasks"):
    collect_ignore.append("moving")
if find_spec("playwright") is None:  # The dependency group `browser`.
    collect_ignore.append("browser")

# What a shell without job control starts in the background ignores SIGINT, and so would the
# processes that tests start, some of which are ended by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep SQLite's test database in a file, as sites do.

    Threads share a database in memory through SQLite's shared cache, where a statement that meets
    one of another connection fails at once with "database table is locked", which no timeout
    covers.
    """
    for database in settings.DATABASES.values():
        if database["NAME"] == ":memory:":
            database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(scope="session", autouse=True)
def only_what_mysql_can():
    """With ``TEST_AS_MYSQL`` in the environment, take from MariaDB what MySQL 8 has not."""
    if os.environ.get("TEST_AS_MYSQL"):
        features = type(connection.features)
        features.can_return_columns_from_insert = False
        features.can_return_rows_from_bulk_insert = False
        features.update_can_self_select = False
