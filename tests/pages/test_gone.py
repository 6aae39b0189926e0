"""A workflow that is deleted while a request about it is answered is not there: never an error."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from tests.pages.reading import address
from tests.pages.scenes import midway, part
from user_workflows.models import UserTaskArtifact, UserTaskStatus

GETS = ["detail", "cancel", "delete", "graph", "archive", "changes", "rows"]
API = ["detail", "tree", "artifacts", "archive", "failures", "graph"]
MANY = 40


def delete_all() -> None:
    UserTaskArtifact.objects.all()._raw_delete("default")
    for level in range(10, -1, -1):  # MySQL checks each row at once: children first.
        UserTaskStatus.objects.filter(level=level)._raw_delete("default")


def asked(what: str, root: UserTaskStatus) -> tuple[str, str]:
    side, _, name = what.partition(" ")
    if side == "page":
        return "get", address(root, name) + f"?of={root.uuid}"
    if side == "part":
        return "get", address(part(root, "Chapters"), name)
    if side == "post":
        return "post", address(root, name)
    return "post" if name == "cancel" else "get", reverse(
        f"usertaskstatus-{name}", args=[part(root, "Chapters").uuid]
    )


@pytest.mark.parametrize(
    "what",
    [
        *(f"page {name}" for name in GETS),
        "part detail", "part cancel", "post cancel", "post delete",
        *(f"api {name}" for name in [*API, "cancel"]),
    ],
)  # fmt: skip
def test_a_workflow_deleted_before_any_statement_of_a_request_is_no_error(
    what: str, people: Any, client: Client
) -> None:
    for at in range(1, MANY):
        root = midway(people.owner)
        method, url = asked(what, root)
        count = 0

        def stop(execute: Any, *args: Any, at: int = at) -> Any:
            nonlocal count
            count += 1
            if count == at:
                delete_all()
            return execute(*args)

        with connection.execute_wrapper(stop):
            answer = getattr(client, method)(url)
            answer.getvalue()
        assert answer.status_code in (200, 302, 404, 409), at
        delete_all()
        if count < at:
            return
    pytest.fail("It had more statements than were tried.")
