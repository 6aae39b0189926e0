"""Fixtures of the integration tests: which database is behind, and processes that share it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from .crew import Crew


@pytest.fixture(
    params=[
        pytest.param("postgresql", marks=pytest.mark.postgres),
        pytest.param("mysql", marks=pytest.mark.mariadb),
    ]
)
def server(request: Any, transactional_db: None) -> str:
    """Runs a test on a database server, PostgreSQL or MariaDB; says which it is."""
    return of_vendor(request.param)


@pytest.fixture(params=[pytest.param("postgresql", marks=pytest.mark.postgres)])
def postgres(request: Any, transactional_db: None) -> str:
    """Runs a test on PostgreSQL only."""
    return of_vendor(request.param)


def of_vendor(vendor: str) -> str:
    if connection.vendor != vendor:
        pytest.skip(f"TEST_DATABASE_URL is not of {vendor}")
    return vendor


@pytest.fixture(scope="session")
def _crew(django_db_setup: None) -> Iterator[Crew]:
    url = os.environ["TEST_DATABASE_URL"].rsplit("/", 1)[0]
    crew = Crew(8, f"{url}/{connection.settings_dict['NAME']}")
    yield crew
    crew.dismiss()


@pytest.fixture
def crew(server: str, request: Any) -> Crew:
    """Eight processes on the database of the tests."""
    return request.getfixturevalue("_crew")  # type: ignore[no-any-return]
