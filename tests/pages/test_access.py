"""Who may open what, and do what: the owner, others, nobody, staff; with object permissions."""

from typing import Any

import pytest
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse
from rest_framework.filters import BaseFilterBackend

from tests.pages.reading import address, page, text
from tests.pages.scenes import export, midway, pages_of, part, settled
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase

PAGES = ["detail", "cancel", "delete", "graph", "archive"]
FRAGMENTS = ["changes", "rows"]
RULES = ["rules.permissions.ObjectPermissionBackend", "django.contrib.auth.backends.ModelBackend"]


@pytest.fixture
def root(people: Any) -> UserTaskStatus:
    return export(people.owner)


@pytest.mark.parametrize("name", PAGES)
def test_an_anonymous_user_is_redirected_to_the_login(name: str, root: Any, client_of: Any) -> None:
    answer = client_of(None).get(address(root, name))
    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/?next=")
    assert client_of(None).get(reverse("user_workflows:list")).status_code == 302


@pytest.mark.parametrize("name", [*PAGES, *FRAGMENTS])
def test_a_workflow_of_another_user_is_not_found(
    name: str, people: Any, root: Any, client_of: Any
) -> None:
    answer = client_of(people.other).get(address(root, name), {"of": root.uuid})
    assert answer.status_code == 404
    assert b"Night Sky" not in answer.content
    assert "Night Sky" not in client_of(people.other).get("/tasks/").content.decode()


@pytest.mark.parametrize("name", FRAGMENTS)
def test_a_fragment_for_an_anonymous_user_answers_401(name: str, root: Any, client_of: Any) -> None:
    assert client_of(None).get(address(root, name)).status_code == 401
    assert client_of(None).get(reverse("user_workflows:list_changes")).status_code == 401


def test_other_users_can_neither_cancel_nor_delete(people: Any, root: Any, client_of: Any) -> None:
    for name in ("cancel", "delete"):
        assert client_of(people.other).post(address(root, name)).status_code == 404
        assert client_of(None).post(address(root, name)).status_code == 302
    assert pages_of(root).phase == Phase.PENDING


def test_staff_can_view_and_are_refused_actions_with_a_message(
    people: Any, root: Any, client_of: Any
) -> None:
    client = client_of(people.staff)
    html = page(client, root)
    assert "started by owner" in text(html)
    assert "/cancel/" not in html and "/delete/" not in html
    assert "by owner" in text(client.get("/tasks/").content.decode())
    for name in ("cancel", "delete"):
        for answer in (client.get(address(root, name)), client.post(address(root, name))):
            assert answer.status_code == 403
            assert f"You may look at this workflow, but not {name} it." in answer.content.decode()
    assert pages_of(root).phase == Phase.PENDING


def test_object_permissions_decide_where_a_backend_has_them(
    settings: Any, people: Any, root: Any, client: Client
) -> None:
    import rules

    from user_workflows.rules import add_rules

    settings.AUTHENTICATION_BACKENDS = RULES
    assert client.get(address(root)).status_code == 403
    assert client.get(address(root, "changes")).status_code == 403
    add_rules()
    try:
        rules.set_perm("user_workflows.cancel_usertaskstatus", rules.always_false)
        html = page(client, root)
        assert "/cancel/" not in html
        assert client.post(address(root, "cancel")).status_code == 403
    finally:
        for name in list(rules.permissions.permissions):
            rules.remove_perm(name)


class OnlyMailings(BaseFilterBackend):
    """What a site's own backend may ask of the request and the view."""

    def filter_queryset(self, request: Any, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        assert request.user.is_authenticated and request.query_params is not None and view
        return queryset.filter(action="mail")


def test_status_filters_of_the_site_decide_what_exists(
    settings: Any, root: Any, client: Client
) -> None:
    settings.USER_WORKFLOWS_STATUS_FILTERS = ["tests.pages.test_access.OnlyMailings"]
    assert client.get(address(root)).status_code == 404
    assert "Night Sky" not in client.get("/tasks/").content.decode()


@pytest.mark.parametrize("name", ["cancel", "delete"])
def test_an_action_without_a_csrf_token_is_refused(name: str, people: Any, root: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.owner)
    assert client.post(address(root, name)).status_code == 403
    assert pages_of(root).phase == Phase.PENDING
    token = client.get(address(root, "cancel")).context["csrf_token"]
    assert client.post(address(root, name), {"csrfmiddlewaretoken": token}).status_code != 403


def test_a_get_request_changes_nothing(people: Any, client: Client) -> None:
    root = midway(people.owner)
    before = list(UserTaskStatus.objects.order_by("pk").values())
    for name in (*PAGES, *FRAGMENTS):
        assert client.get(address(root, name), {"of": root.uuid}).status_code == 200
        if name not in ("cancel", "delete"):
            assert client.post(address(root, name)).status_code == 405
    assert list(UserTaskStatus.objects.order_by("pk").values()) == before


def test_a_workflow_can_be_deleted_only_when_it_has_ended(
    people: Any, root: Any, client: Client
) -> None:
    assert address(root, "delete") not in page(client, root)
    answer = client.post(address(root, "delete"))
    assert answer.status_code == 409 and "Cancel it first" in answer.content.decode()
    root = settled(root)
    assert address(root, "delete") in page(client, root)
    assert "18 tasks" in text(page(client, root, "delete"))
    assert client.get(address(part(root, "Chapters"), "delete")).status_code == 404
    answer = client.post(address(root, "delete"), follow=True)
    assert answer.redirect_chain == [("/tasks/", 302)]
    assert "“Export Watching the Night Sky” was deleted." in answer.content.decode()
    assert not UserTaskStatus.objects.exists()
