"""Django's admin: whole workflows with their trees, to look at, cancel and delete."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.urls import reverse
from django.utils.timezone import now

from tests.helpers import a_user, assert_tree_is_sound, queries, stored
from user_workflows.lifecycle import transitions
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import container, leaf

LIST = reverse("admin:user_workflows_usertaskstatus_changelist")


@pytest.fixture
def admin(admin_client: Any) -> Any:
    return admin_client


def staff_client(client: Any, *codenames: str) -> Any:
    staff = a_user("staff")
    staff.is_staff = True
    staff.save()
    staff.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(staff)
    return client


def export(names: str = "ab", prefix: str = "") -> dict[str, UserTaskStatus]:
    leaves = [leaf(prefix + name, total_steps=4) for name in names]
    return stored(container("chain", *leaves, leaf(prefix + "z"), name=prefix + "Export"))


def change(status: UserTaskStatus) -> str:
    return reverse("admin:user_workflows_usertaskstatus_change", args=[status.pk])


@pytest.mark.django_db
def test_the_list_has_whole_workflows_with_bars(admin: Any) -> None:
    nodes = export()
    transitions.begin(nodes["a"], 1)
    transitions.settle(nodes["a"], Phase.SUCCEEDED)
    page = admin.get(LIST).content.decode()
    assert change(nodes["Export"]) in page and change(nodes["a"]) not in page
    assert '<progress value="' in page and "In Progress" in page
    everything = admin.get(LIST + "?part=all").content.decode()
    assert change(nodes["a"]) in everything
    failed = admin.get(LIST + "?phase__exact=FAILED").content.decode()
    assert change(nodes["Export"]) not in failed
    assert change(nodes["Export"]) in admin.get(LIST + "?q=Expo").content.decode()


@pytest.mark.django_db
def test_a_longer_list_costs_no_more_queries(admin: Any) -> None:
    export()
    admin.get(LIST)  # What is read only once, like content types.
    with queries() as few:
        admin.get(LIST)
    for at in range(5):
        export(prefix=f"{at}-")
    with queries(len(few)):
        admin.get(LIST)


@pytest.mark.django_db
def test_a_node_shows_its_tree_and_ancestors_and_takes_no_edits(admin: Any) -> None:
    nodes = export()
    nodes["a"].add_artifact("Report", text="all <b>well</b>")
    root = admin.get(change(nodes["Export"])).content.decode()
    assert all(change(nodes[name]) in root for name in ("a", "b", "z"))
    part = admin.get(change(nodes["a"])).content.decode()
    assert change(nodes["Export"]) in part and "all &lt;b&gt;well&lt;/b&gt;" in part
    answer = admin.post(change(nodes["a"]), {"name": "Renamed", "state": "Succeeded"})
    assert answer.status_code == 403
    nodes["a"].refresh_from_db()
    assert (nodes["a"].name, nodes["a"].phase) == ("a", Phase.PENDING)
    assert admin.get(reverse("admin:user_workflows_usertaskstatus_add")).status_code == 403


@pytest.mark.django_db
def test_a_name_cannot_bring_markup_into_a_page(admin: Any) -> None:
    plan = container("chain", leaf("<script>alert(1)</script>"), leaf("y"), name="<img src=x>")
    nodes = stored(plan)
    nodes["y"].set_state("<b>bold</b>")
    nodes["y"].add_artifact("<i>", url="https://example.com/?<script>")
    for address in (LIST, LIST + "?part=all", change(nodes["<img src=x>"]), change(nodes["y"])):
        page = admin.get(address).content.decode()
        assert "<script>alert" not in page and "<img src=x>" not in page
        assert "<b>bold" not in page and "?<script>" not in page


@pytest.mark.django_db
def test_selected_workflows_are_canceled(admin: Any) -> None:
    nodes = export()
    transitions.begin(nodes["a"], 1, last_seen_at=now())
    answer = admin.post(
        LIST, {"action": "cancel_selected", "_selected_action": [nodes["Export"].pk]}, follow=True
    )
    said = "Canceled. 2 tasks will not start. 1 running was asked to stop."
    assert said in answer.content.decode()
    nodes["Export"].refresh_from_db()
    assert nodes["Export"].phase == Phase.CANCELED


@pytest.mark.django_db
def test_users_without_the_permission_cannot_cancel(client: Any) -> None:
    nodes = export()
    staff = staff_client(client, "view_usertaskstatus")
    assert "cancel_selected" not in staff.get(LIST).content.decode()
    staff.post(LIST, {"action": "cancel_selected", "_selected_action": [nodes["Export"].pk]})
    nodes["Export"].refresh_from_db()
    assert nodes["Export"].phase == Phase.PENDING
    staff = staff_client(client, "view_usertaskstatus", "cancel_usertaskstatus")
    assert "cancel_selected" in staff.get(LIST).content.decode()


@pytest.mark.django_db(transaction=True)
def test_workflows_are_deleted_whole_with_their_files(admin: Any) -> None:
    one, two = export(), export(prefix="2-")
    artifact = one["a"].add_artifact("File", file=ContentFile(b"x", name=f"{uuid4()}.txt"))
    storage, name = artifact.file.storage, artifact.file.name
    delete = reverse("admin:user_workflows_usertaskstatus_delete", args=[one["Export"].pk])
    asked = admin.get(delete)
    assert asked.status_code == 200 and "Are you sure" in asked.content.decode()
    assert admin.post(delete, {"post": "yes"}).status_code == 302
    assert not UserTaskStatus.objects.filter(tree_id=one["Export"].pk).exists()
    assert not UserTaskArtifact.objects.exists() and not storage.exists(name)

    selected = {"action": "delete_selected", "_selected_action": [two["2-Export"].pk]}
    assert "Are you sure" in admin.post(LIST, selected).content.decode()
    admin.post(LIST, {**selected, "post": "yes"})
    assert not UserTaskStatus.objects.exists()


@pytest.mark.django_db
def test_a_part_of_a_workflow_is_not_deleted(admin: Any) -> None:
    nodes = export()
    delete = reverse("admin:user_workflows_usertaskstatus_delete", args=[nodes["a"].pk])
    assert admin.post(delete, {"post": "yes"}).status_code == 403
    selected = {"action": "delete_selected", "_selected_action": [nodes["a"].pk], "post": "yes"}
    admin.post(LIST + "?part=all", selected)
    assert UserTaskStatus.objects.filter(tree_id=nodes["Export"].pk).count() == 4
    assert_tree_is_sound(nodes["Export"].pk)


@pytest.mark.django_db
def test_users_without_the_permission_cannot_delete(client: Any) -> None:
    nodes = export()
    staff = staff_client(client, "view_usertaskstatus", "cancel_usertaskstatus")
    delete = reverse("admin:user_workflows_usertaskstatus_delete", args=[nodes["Export"].pk])
    assert staff.post(delete, {"post": "yes"}).status_code == 403
    assert UserTaskStatus.objects.count() == 4


@pytest.mark.django_db
def test_the_confirmation_of_a_deletion_counts_nodes_and_does_not_list_them(admin: Any) -> None:
    nodes = stored(container("group", *(leaf(f"member {at}") for at in range(300)), name="Many"))
    delete = reverse("admin:user_workflows_usertaskstatus_delete", args=[nodes["Many"].pk])
    page = admin.get(delete).content.decode()
    assert "member 7" not in page and "301" in page


@pytest.mark.django_db
def test_artifacts_are_listed_and_shown(admin: Any) -> None:
    nodes = export()
    artifact = nodes["a"].add_artifact("Report", url="https://example.com/report")
    shown = admin.get(reverse("admin:user_workflows_usertaskartifact_changelist"))
    assert "Report" in shown.content.decode()
    page = admin.get(
        reverse("admin:user_workflows_usertaskartifact_change", args=[artifact.pk])
    ).content.decode()
    assert 'href="https://example.com/report"' in page and change(nodes["a"]) in page
