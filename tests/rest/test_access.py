"""Access over HTTP: owners, others, nobody, staff, and sites with object permissions."""

from typing import Any

import pytest
import rules
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from tests.rest.conftest import export, part, url
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.rules import add_rules

GETS = ["detail", "tree", "artifacts", "archive", "failures", "graph"]
RULES = ["rules.permissions.ObjectPermissionBackend", "django.contrib.auth.backends.ModelBackend"]


def body(response: Any) -> str:
    return b"".join(response).decode(errors="replace")


@pytest.fixture
def artifact(root: UserTaskStatus) -> UserTaskArtifact:
    return part(root, "render 1").add_artifact("Secret report", text="Secret words")


@pytest.mark.parametrize("what", GETS)
def test_only_the_owner_and_staff_see_a_workflow(
    what: str, people: Any, root: Any, artifact: Any, client_of: Any
) -> None:
    answers = {
        who: client_of(getattr(people, who, None)).get(url(root, what))
        for who in ("owner", "staff", "other", "nobody")
    }
    assert {who: answer.status_code for who, answer in answers.items()} == {
        "owner": 200,
        "staff": 200,
        "other": 404,
        "nobody": 403,
    }
    for who in ("other", "nobody"):
        assert "ecret" not in body(answers[who])
    assert b"owner" not in answers["owner"].getvalue()  # Nobody's user name, not even one's own.


@pytest.mark.parametrize("who", ["other", "nobody"])
def test_others_cannot_cancel_or_delete_a_workflow(
    who: str, people: Any, root: Any, client_of: Any
) -> None:
    client = client_of(getattr(people, who, None))
    expected = 404 if who == "other" else 403
    assert client.post(url(root, "cancel")).status_code == expected
    assert client.post(url(part(root, "chapters"), "cancel")).status_code == expected
    assert client.delete(url(root)).status_code == expected
    assert set(UserTaskStatus.objects.values_list("phase", flat=True)) == {Phase.PENDING}


def test_staff_who_may_only_view_cannot_cancel_or_delete(
    people: Any, root: Any, client_of: Any
) -> None:
    client = client_of(people.staff)
    assert client.post(url(root, "cancel")).status_code == 403
    assert client.delete(url(root)).status_code == 403
    root.refresh_from_db()
    assert root.phase == Phase.PENDING


def test_lists_contain_only_what_the_user_may_see(
    people: Any, root: Any, artifact: Any, client_of: Any
) -> None:
    own = export(people.other)
    seen = {}
    for who in ("owner", "other", "staff"):
        client = client_of(getattr(people, who))
        listed = client.get(reverse("usertaskstatus-list")).json()
        artifacts = client.get(reverse("usertaskartifact-list")).json()
        seen[who] = {row["uuid"] for row in listed}, [row["name"] for row in artifacts]
    assert seen == {
        "owner": ({str(root.uuid)}, ["Secret report"]),
        "other": ({str(own.uuid)}, []),
        "staff": ({str(root.uuid), str(own.uuid)}, ["Secret report"]),
    }
    for name in ("usertaskstatus-list", "usertaskartifact-list"):
        assert client_of(None).get(reverse(name)).status_code == 403
    for query in ("search=Secret", "all=1", "ordering=name", f"uuid={root.uuid}"):
        answer = client_of(people.other).get(f"{reverse('usertaskstatus-list')}?{query}")
        assert str(root.uuid) not in body(answer)


def test_an_artifact_is_visible_to_those_who_see_its_workflow(
    people: Any, artifact: Any, client_of: Any
) -> None:
    address = reverse("usertaskartifact-detail", args=[artifact.uuid])
    codes = {
        who: client_of(getattr(people, who, None)).get(address).status_code
        for who in ("owner", "staff", "other", "nobody")
    }
    assert codes == {"owner": 200, "staff": 200, "other": 404, "nobody": 403}


def test_object_permissions_decide_where_a_backend_has_them(
    settings: Any, people: Any, root: Any, client_of: Any
) -> None:
    settings.AUTHENTICATION_BACKENDS = RULES
    assert client_of(people.owner).get(url(root)).status_code == 403  # No rule, no access.
    add_rules()
    try:
        assert client_of(people.owner).get(url(root)).status_code == 200
        assert client_of(people.other).get(url(root)).status_code == 404
        rules.set_perm("user_workflows.cancel_usertaskstatus", rules.is_superuser)
        assert client_of(people.owner).post(url(root, "cancel")).status_code == 403
    finally:
        rules.permissions.permissions.clear()


class ByAction:
    """What the how-to on sharing shows: course staff see each other's exports."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        return queryset.filter(action="course.export", subject__in=["CS101"])


def test_a_filter_and_a_rule_of_the_site_share_workflows(
    settings: Any, people: Any, root: Any, client_of: Any
) -> None:
    settings.USER_WORKFLOWS_STATUS_FILTERS = ["tests.rest.test_access.ByAction"]
    settings.AUTHENTICATION_BACKENDS = RULES
    hidden = export(people.owner, subject="CS102")
    shared = rules.predicate(lambda user, status=None: status is None or status.subject == "CS101")
    rules.add_perm("user_workflows.view_usertaskstatus", shared)
    try:
        client = client_of(people.other)
        listed = client.get(reverse("usertaskstatus-list")).json()
        assert [row["uuid"] for row in listed] == [str(root.uuid)]
        assert client.get(url(root, "tree")).status_code == 200
        assert client.get(url(hidden)).status_code == 404
        assert client.post(url(root, "cancel")).status_code == 403
    finally:
        rules.permissions.permissions.clear()


def test_an_artifacts_url_that_is_not_http_is_blank_in_the_api(
    people: Any, root: Any, client_of: Any
) -> None:
    UserTaskArtifact.objects.create(status=root, name="bad", url="javascript:alert(1)")
    UserTaskArtifact.objects.create(status=root, name="good", url="https://example.com/x")
    rows = client_of(people.owner).get(url(root, "artifacts")).json()
    assert {row["name"]: row["url"] for row in rows} == {
        "bad": "",
        "good": "https://example.com/x",
    }


@pytest.mark.parametrize("link", ["http://example.com/", "HTTPS://EXAMPLE.COM/x"])
def test_a_web_address_is_a_link_in_the_api_on_pages_and_in_the_admin(
    link: str, people: Any, root: Any, client_of: Any
) -> None:
    people.owner.is_staff = people.owner.is_superuser = True
    people.owner.save()
    artifact = UserTaskArtifact.objects.create(status=root, name="Link", url=link)
    assert client_of(people.owner).get(url(root, "artifacts")).json()[0]["url"] == link
    browser = Client()
    browser.force_login(people.owner)
    page = browser.get(reverse("user_workflows:detail", args=[root.uuid])).content.decode()
    admin = reverse("admin:user_workflows_usertaskartifact_change", args=[artifact.pk])
    assert f'href="{link}"' in page
    assert f'href="{link}"' in browser.get(admin).content.decode()


def test_deleting_an_open_workflow_cancels_it_first(
    people: Any, root: Any, client_of: Any, django_capture_on_commit_callbacks: Any
) -> None:
    from user_workflows.lifecycle.cancellation import tasks_revoked

    told: list[str] = []

    def note(task_ids: Any, **kwargs: Any) -> None:
        told.extend(task_ids)

    tasks_revoked.connect(note)
    try:
        client = client_of(people.owner)
        assert client.delete(url(part(root, "chapters"))).status_code == 409
        with django_capture_on_commit_callbacks(execute=True):
            assert client.delete(url(root)).status_code == 204
    finally:
        tasks_revoked.disconnect(note)
    assert len(told) == 6
    assert not UserTaskStatus.objects.exists()


def test_deleting_a_settled_workflow_deletes_all_its_nodes(
    people: Any, root: Any, client_of: Any
) -> None:
    UserTaskStatus.objects.update(settled_at=now(), phase=Phase.SUCCEEDED)
    assert client_of(people.owner).delete(url(root)).status_code == 204
    assert not UserTaskStatus.objects.exists()
