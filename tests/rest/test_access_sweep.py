"""Every URL with every method, for another user and for nobody, in JSON and as a page."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from rest_framework.throttling import UserRateThrottle

from tests.rest.conftest import export, part, url
from tests.rest.test_access import body
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.urls import ROUTER
from user_workflows.views import StatusViewSet

METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
#: Of the owner, who is called Ms. Moneypenny: what nobody else may read anywhere.
SECRETS = ("ecret", "moneypenny", "CS007", "No ink")


@pytest.fixture
def everything(people: Any) -> dict[str, str]:
    """All addresses that are about a workflow of the owner's or a part of it, by their names."""
    people.owner.username = "moneypenny"
    people.owner.save()
    root = export(people.owner, subject="CS007")
    leaf = part(root, "render 1")
    leaf.add_artifact("Secret report", text="Secret words")
    artifact = UserTaskArtifact.objects.get()
    part(root, "read").fail("No ink.")
    names = [name for name in (route.name for route in ROUTER.urls) if name]
    found = {}
    for name in names:
        if name.endswith("-list"):
            continue
        for about in [artifact] if name.startswith("usertaskartifact") else [root, leaf]:
            found[f"{name} of {type(about).__name__} {about.name}"] = reverse(
                name, args=[about.uuid]
            )
    assert len(found) >= 2 * 7 + 1
    return found


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("who", ["other", "nobody"])
def test_no_method_of_any_url_reveals_a_workflow_to_others(
    who: str, accept: str, people: Any, everything: dict[str, str], client_of: Any
) -> None:
    client = client_of(getattr(people, who, None))
    unknown = {
        name: address.replace(address.split("/")[3], "00000000-0000-4000-8000-000000000000")
        for name, address in everything.items()
    }
    for name, address in everything.items():
        for method in METHODS:
            answer = getattr(client, method)(address, headers={"Accept": accept})
            said = body(answer)
            assert answer.status_code in (200, 403, 404, 405), (name, method)
            assert not [secret for secret in SECRETS if secret in said], (name, method)
            # Nor whether there is such a workflow: the answer is that to an unknown UUID.
            other = getattr(client, method)(unknown[name], headers={"Accept": accept})
            assert answer.status_code == other.status_code, (name, method)
            if answer.status_code == 200:
                assert method == "options" and who == "other", (name, method)
    assert not UserTaskStatus.objects.filter(phase=Phase.CANCELED).exists()
    assert UserTaskArtifact.objects.filter(name="Secret report").exists()


QUERIES = (
    "", "all=1", "search=Secret", "search=CS007", "search=moneypenny", "ordering=user__username",
    "ordering=-created", "all=1&ordering=name&search=render", "phase=FAILED&all=1",
    "subject=CS007", "action=course.export&all=1", "user=1", "user__username=moneypenny",
    "artifacts__text__startswith=S", "name=Secret+report", "format=api&all=1",
)  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_no_list_query_reveals_a_workflow_to_others(
    query: str, settings: Any, people: Any, everything: dict[str, str], client_of: Any
) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_filters"]
    for name in ("usertaskstatus-list", "usertaskartifact-list"):
        address = f"{reverse(name)}?{query}"
        for method in ("get", "head", "options"):
            answer = getattr(client_of(people.other), method)(address)
            assert answer.status_code == 200, address
            # The words that were searched for are those of who asks.
            said = body(answer).replace(query.partition("search=")[2] or "\0", "")
            assert not [word for word in SECRETS if word in said and word not in query], address
            if method == "get" and "format" not in query:
                assert answer.json() == []
            assert getattr(client_of(None), method)(address).status_code == 403


def test_ordering_by_a_column_of_the_user_is_ignored(people: Any, client_of: Any) -> None:
    """The place of one's own row among others' would reveal their columns."""
    answer = client_of(people.owner).get("/api/tasks/?ordering=user__password")
    assert answer.status_code == 200
    assert "password" not in StatusViewSet.ordering_fields


@pytest.mark.parametrize("method", ["put", "patch"])
def test_owners_cannot_change_or_create_nodes(
    method: str, people: Any, root: Any, client_of: Any
) -> None:
    answer = getattr(client_of(people.owner), method)(url(root), {"state": "Succeeded"})
    assert answer.status_code == 405
    assert client_of(people.owner).post("/api/tasks/", {"name": "x"}).status_code == 405


def test_names_with_markup_are_escaped_in_the_browsable_api(
    people: Any, root: Any, client_of: Any
) -> None:
    """What a task's author or user has typed is text, in the pages of the framework, too."""
    evil = "<script>alert(1)</script>"
    part(root, "render 1").set_name(evil)
    part(root, "read").add_artifact(evil, text=evil)
    client = client_of(people.owner)
    for what in ("detail", "tree", "artifacts", "failures", "graph"):
        page = client.get(url(root, what), headers={"Accept": "text/html"})
        assert page.status_code == 200
        if page["Content-Type"].startswith("text/html"):
            assert evil not in body(page), what
    for kind in ("mermaid", "dot"):
        answer = client.get(url(root, "graph", **{"as": kind}))
        assert answer["Content-Type"].startswith("text/plain")


def test_throttle_classes_of_the_site_apply(
    people: Any, root: Any, client_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Rarely(UserRateThrottle):
        rate = "2/day"

    from django.core.cache import cache

    cache.clear()
    monkeypatch.setattr(StatusViewSet, "throttle_classes", [Rarely])
    client = client_of(people.owner)
    codes = [client.get(url(root, "tree")).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    refused = client.get(url(root, "tree"))
    assert int(refused["Retry-After"]) > 0
    assert client_of(people.other).get(url(root, "tree")).status_code == 404  # Of one's own.
    cache.clear()
