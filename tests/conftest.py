"""What all tests share."""

import os
from importlib.util import find_spec

import pytest
from django.db import connection

# The suite of django-user-tasks, which has a runner and a site of its own.
collect_ignore = ["compat"]
if find_spec("playwright") is None:  # The dependency group `browser`.
    collect_ignore.append("browser")


@pytest.fixture(scope="session", autouse=True)
def only_what_mysql_can():
    """With ``TEST_AS_MYSQL`` in the environment, take from MariaDB what MySQL 8 has not."""
    if os.environ.get("TEST_AS_MYSQL"):
        features = type(connection.features)
        features.can_return_columns_from_insert = False
        features.can_return_rows_from_bulk_insert = False
        features.update_can_self_select = False
