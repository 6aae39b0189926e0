"""People with and without rights, and browsers without scripts in their hands."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from tests.helpers import a_user


@pytest.fixture
def people(db: None) -> Any:
    staff = a_user("staff")
    staff.is_staff = True
    staff.save()
    staff.user_permissions.add(*Permission.objects.filter(codename__startswith="view_usertask"))
    return SimpleNamespace(owner=a_user("owner"), other=a_user("other"), staff=staff, nobody=None)


@pytest.fixture
def client_of() -> Callable[[Any], Client]:
    def made(user: Any) -> Client:
        client = Client()
        if user is not None:
            client.force_login(user)
        return client

    return made


@pytest.fixture
def client(people: Any, client_of: Any) -> Client:
    """The owner's."""
    made: Client = client_of(people.owner)
    return made
