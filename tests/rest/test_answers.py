"""Answers of the API: lists, nodes, bounded trees, deltas, artifacts, failures, graphs."""

import json
import time
import zipfile
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.test import override_settings
from django.urls import reverse
from django.utils.timezone import now

from tests.helpers import a_user, queries
from tests.rest.conftest import export, part, url
from user_workflows import serializers
from user_workflows.db import timestamps
from user_workflows.lifecycle import transitions
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import spawning, submission
from user_workflows.reports import archives, tree_json
from user_workflows.testing import container, leaf


@pytest.fixture
def client(people: Any, client_of: Any) -> Any:
    return client_of(people.owner)


def end(root: Any, name: str, phase: Phase = Phase.SUCCEEDED, message: str = "") -> None:
    status = part(root, name)
    transitions.begin(status, 1)
    transitions.settle(status, phase, message=message)


LIST = "/api/tasks/"


def test_a_list_has_whole_workflows_with_stored_values_in_two_queries(
    people: Any, root: Any, client: Any
) -> None:
    for _ in range(3):
        export(people.owner)
    with queries(2) as few:  # The rows, their artifacts.
        rows = client.get(LIST).json()
    assert len(few) == 2
    assert '"text"' not in few[1].replace("`", '"')  # It may be large.
    assert [row["uuid"] for row in rows][-1] == str(root.uuid)
    assert len(rows) == 4
    row = rows[-1]
    assert (row["name"], row["state"], row["total_steps"]) == ("Secret export", "Pending", 10)
    assert (row["node_type"], row["parent"], row["root"]) == ("chain", None, str(root.uuid))
    assert row["counts"] is None and row["subject"] == "CS101"

    with queries(2):
        everything = client.get(LIST + "?all=1").json()
    assert len(everything) == 4 * 10
    below = [row for row in everything if row["root"] == str(root.uuid) and row["parent"]]
    assert len(below) == 9


def test_a_list_is_searched_filtered_ordered_and_paged(people: Any, root: Any, client: Any) -> None:
    other = export(people.owner, subject="Knots")
    assert [row["uuid"] for row in client.get(LIST + "?search=knots").json()] == [str(other.uuid)]
    found = client.get(LIST + "?ordering=created").json()
    assert [row["uuid"] for row in found] == [str(root.uuid), str(other.uuid)]
    from user_workflows.views import StatusViewSet

    class Paged(StatusViewSet):
        from rest_framework.pagination import PageNumberPagination as pagination_class

        pagination_class.page_size = 1

    from rest_framework.test import APIRequestFactory, force_authenticate

    request = APIRequestFactory().get("/x/")
    force_authenticate(request, people.owner)
    page = Paged.as_view({"get": "list"})(request).data
    assert page["count"] == 2 and len(page["results"]) == 1


def test_lists_filter_by_field_if_django_filter_is_installed(
    settings: Any, people: Any, root: Any, client: Any
) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_filters"]
    other = export(people.owner, subject="Knots")
    UserTaskStatus.objects.filter(pk=other.pk).update(phase=Phase.FAILED)
    for query in ("phase=FAILED", "subject=Knots", "phase=FAILED&phase=PARTIAL"):
        found = client.get(f"{LIST}?{query}").json()
        assert [row["uuid"] for row in found] == [str(other.uuid)], query
    assert len(client.get(LIST + "?phase=FAILED&phase=PENDING").json()) == 2
    assert client.get(LIST + "?created_after=2999-01-01T00:00:00Z").json() == []
    assert client.get(LIST + "?phase=NOSUCH").status_code == 400
    assert client.get(url(root, "tree", phase="FAILED")).status_code == 200


def test_a_detail_has_sums_of_current_leaves(root: Any, client: Any) -> None:
    end(root, "read")
    UserTaskStatus.objects.filter(pk=root.pk).update(completed_steps=0)
    answer = client.get(url(root)).json()
    assert (answer["completed_steps"], answer["total_steps"], answer["percent"]) == (1, 10, 10)
    assert answer["counts"] == {"SUCCEEDED": 1, "PENDING": 5}
    inner = client.get(url(part(root, "chapter 2"))).json()
    assert inner["parent"] == str(part(root, "chapters").uuid)
    assert inner["root"] == str(root.uuid)


def test_cancel_returns_the_node_and_the_counts_of_its_tasks(root: Any, client: Any) -> None:
    end(root, "read")
    answer = client.post(url(part(root, "chapter 1"), "cancel")).json()
    assert answer["canceled"] == {"pending": 2, "running": 0, "finished": 0}
    assert answer["phase"] == "CANCELED"
    assert client.post(url(root, "cancel"), {"force": True}, format="json").status_code == 200
    assert client.post(url(root, "cancel"), [1], format="json").status_code == 200
    root.refresh_from_db()
    assert root.phase == Phase.CANCELED and root.is_settled


# -- trees ----------------------------------------------------------------------------------------


def test_a_bounded_tree_says_how_to_read_the_children_it_leaves_out(
    people: Any, client: Any
) -> None:
    members = [leaf(f"letter {i}") for i in range(7)]
    wide = submission.store_plan(
        container(
            "chain", container("group", *members, name="letters"), leaf("report"), name="mail"
        ),
        user_id=people.owner.pk,
    )
    with queries(3):  # The node, what its tree looks like from afar, its tree.
        answer = client.get(url(wide, "tree", children=3)).json()
    letters = answer["tree"]["children"][0]
    assert [child["name"] for child in letters["children"]] == ["letter 0", "letter 1", "letter 2"]
    assert letters["left_out"] == {"children": 4, "after": letters["children"][-1]["uuid"]}
    assert letters["counts"] == {"PENDING": 7} and letters["total_steps"] == 7
    group = part(wide, "letters")
    after = letters["left_out"]["after"]
    more = client.get(url(group, "tree", children=3, after=after)).json()["tree"]
    assert [child["name"] for child in more["children"]] == ["letter 3", "letter 4", "letter 5"]
    last = client.get(url(group, "tree", after=more["left_out"]["after"])).json()["tree"]
    assert [child["name"] for child in last["children"]] == ["letter 6"]
    assert last["left_out"] == {"children": 0, "after": None}
    flat = client.get(url(wide, "tree", depth=1)).json()["tree"]
    assert flat["children"][0]["children"] == []
    assert flat["children"][0]["left_out"] == {"children": 7, "after": None}


def test_a_node_of_a_tree_is_rendered_by_its_declared_fields(root: Any, client: Any) -> None:
    """All fields in their order, times as the database has them: clients compare these."""
    end(root, "read")
    end(root, "render 1", Phase.FAILED, "No ink.")
    read, failed, skipped = (part(root, name) for name in ("read", "render 1", "pack 1"))
    shown = client.get(url(root, "tree")).json()["tree"]["children"]
    assert list(shown[0].items()) == [
        ("uuid", str(read.uuid)),
        ("parent", str(root.uuid)),
        ("node_type", "task"),
        ("name", "read"),
        ("task_class", "task"),
        ("phase", "SUCCEEDED"),
        ("state", "Succeeded"),
        ("completed_steps", 1),
        ("total_steps", 1),
        ("percent", 100),
        ("attempts", 1),
        ("allow_failure", False),
        ("caused_by", None),
        ("started", read.started_at.isoformat()),
        ("settled", read.settled_at.isoformat()),
        ("last_seen", None),
        ("counts", {"SUCCEEDED": 1}),
        ("children", []),
        ("left_out", {"children": 0, "after": None}),
    ]
    tree = client.get(url(skipped, "tree")).json()["tree"]
    assert (tree["parent"], tree["caused_by"]) == (None, None)  # Not in this subtree.
    tree = client.get(url(skipped.parent, "tree")).json()["tree"]
    assert tree["children"][1]["caused_by"] == str(failed.uuid)


def test_an_answer_has_the_fields_that_describe_it(root: Any, client: Any) -> None:
    end(root, "render 1", Phase.FAILED, "No ink.")
    whole = client.get(url(root, "tree")).json()
    delta = client.get(url(root, "tree", since=0)).json()
    answers = {
        tree_json.OutlineSerializer: whole["tree"],
        tree_json.LeftOutSerializer: whole["tree"]["left_out"],
        tree_json.NodeSerializer: delta["changed"][0],
        serializers.PlacedArtifactSerializer: client.get(url(root, "artifacts")).json()[0],
        serializers.FailuresSerializer: client.get(url(root, "failures")).json(),
        serializers.CanceledSerializer: client.post(url(root, "cancel")).json(),
    }
    for serializer, answer in answers.items():
        assert list(answer) == list(serializer().fields), serializer
    assert [*whole, *delta] == [
        "version",
        "settled",
        "tree",
        "version",
        "settled",
        "reset",
        "changed",
    ]
    assert set(tree_json.TreeSerializer().fields) == {*whole, *delta}


def test_a_tree_filtered_by_phase_keeps_the_ancestors(root: Any, client: Any) -> None:
    end(root, "read")
    end(root, "render 1", Phase.FAILED, "No ink.")
    tree = client.get(url(root, "tree", phase="failed")).json()["tree"]
    (chapters,) = tree["children"]
    (chapter,) = chapters["children"]
    assert [child["name"] for child in chapter["children"]] == ["render 1"]
    tree = client.get(url(root, "tree", phase="SKIPPED", depth=9)).json()["tree"]
    skipped = tree["children"][-1]
    assert skipped["caused_by"] == str(part(root, "render 1").uuid)


@pytest.mark.parametrize(
    "query",
    ["since=x", "since=" + "9" * 40, "since=", "depth=-1", "depth=x", "children=1e3", "phase=NO",
     "after=x", "after=00000000-0000-4000-8000-000000000000", "children=", "depth=%C2%B2"],
)  # fmt: skip
def test_a_bad_parameter_of_tree_is_refused_by_name(query: str, root: Any, client: Any) -> None:
    answer = client.get(f"{url(root, 'tree')}?{query}")
    assert answer.status_code == 400
    assert query.split("=")[0] in answer.json()


def past(root: Any) -> None:
    """Make all that was written up to now an hour old."""
    then = now() - timedelta(hours=1)
    UserTaskStatus.objects.filter(tree_id=root.pk).update(created=then, modified=then)


def test_since_returns_changed_nodes_and_their_ancestors(root: Any, client: Any) -> None:
    past(root)
    version = client.get(url(root, "tree")).json()["version"]
    nothing = client.get(url(root, "tree", since=version)).json()
    assert (nothing["changed"], nothing["reset"]) == ([], False)
    end(root, "read")
    end(root, "render 1")
    answer = client.get(url(root, "tree", since=nothing["version"])).json()
    told = {row["name"]: row for row in answer["changed"]}
    assert list(told) == ["Secret export", "read", "chapters", "chapter 1", "render 1"]
    assert told["Secret export"]["completed_steps"] == 4
    assert told["render 1"]["parent"] == told["chapter 1"]["uuid"]
    assert "children" not in told["chapters"]


def test_since_returns_nodes_that_were_attached_later(root: Any, client: Any) -> None:
    past(root)
    version = client.get(url(root, "tree")).json()["version"]
    spawning.attach_subtree(part(root, "read"), container("group", leaf("more"), name="sent"))
    changed = client.get(url(root, "tree", since=version)).json()["changed"]
    assert [row["name"] for row in changed] == ["Secret export", "read", "sent", "more"]


def test_since_with_too_many_changes_asks_for_a_reset(
    root: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_json, "MAX_CHANGED", 3)
    answer = client.get(url(root, "tree", since="0")).json()
    assert (answer["reset"], answer["changed"]) == (True, [])


def test_an_unchanged_tree_is_answered_by_304(root: Any, client: Any) -> None:
    past(root)
    first = client.get(url(root, "tree"))
    again = client.get(url(root, "tree"), headers={"If-None-Match": first["ETag"]})
    assert again.status_code == 304 and again.content == b"" and again["ETag"] == first["ETag"]
    end(root, "read")
    assert (
        client.get(url(root, "tree"), headers={"If-None-Match": first["ETag"]}).status_code == 200
    )


def test_an_unchanged_settled_tree_takes_one_query(root: Any, client: Any) -> None:
    client.post(url(root, "cancel"))
    first = client.get(url(root, "tree"))
    assert first.json()["settled"] is True
    with queries(1) as few:
        again = client.get(url(root, "tree"), headers={"If-None-Match": first["ETag"]})
    assert again.status_code == 304 and len(few) == 1
    # Another question is another answer.
    other = client.get(url(root, "tree", depth=1), headers={"If-None-Match": first["ETag"]})
    assert other.status_code == 200


# -- artifacts ------------------------------------------------------------------------------------


def test_artifacts_below_a_node_come_in_tree_order_with_their_paths(root: Any, client: Any) -> None:
    part(root, "render 1").add_artifact("Page", text="one")
    part(root, "render 2").add_artifact("Page", text="two")
    part(root, "notify").add_artifact("Letter", url="https://example.com/letter")
    end(root, "render 2", Phase.FAILED, "No ink.")
    with queries(3):  # The node, the artifacts, the names on the way.
        rows = client.get(url(root, "artifacts")).json()
    assert [(row["name"], row["path"]) for row in rows] == [
        ("Page", ["chapters", "chapter 1", "render 1"]),
        ("Page", ["chapters", "chapter 2", "render 2"]),
        ("Error", ["chapters", "chapter 2", "render 2"]),
        ("Letter", ["notify"]),
    ]
    below = client.get(url(part(root, "chapters"), "artifacts", name="Page")).json()
    assert [row["path"][0] for row in below] == ["chapter 1", "chapter 2"]
    failed = client.get(url(root, "artifacts", phase="FAILED", name="Page")).json()
    assert [row["text"] for row in failed] == ["two"]
    own = client.get(url(part(root, "notify"), "artifacts")).json()
    assert own[0]["path"] == []


@pytest.fixture
def media(tmp_path: Any) -> Any:
    with override_settings(MEDIA_ROOT=str(tmp_path)):
        yield tmp_path


def unpacked(response: Any) -> tuple[zipfile.ZipFile, list[Any]]:
    archive = zipfile.ZipFile(BytesIO(response.getvalue()))
    assert archive.testzip() is None
    return archive, json.loads(archive.read("manifest.json"))


def test_the_archive_contains_all_artifacts_under_safe_unique_names(
    root: Any, client: Any, media: Any
) -> None:
    first = part(root, "render 1")
    first.set_name("../../etc/<b>passwd</b>")
    big = bytes(range(256)) * 2000
    for content in (big, b"second"):
        first.add_artifact("Page", file=ContentFile(content, name="page.png"))
    first.add_artifact("../note", text="Grüße")
    first.add_artifact("Link", url="https://example.com/")
    lost = first.add_artifact("Lost", file=ContentFile(b"x", name="lost.txt"))
    lost.file.storage.delete(lost.file.name)

    response = client.get(url(root, "archive"))

    assert response["Content-Disposition"] == f'attachment; filename="{root.uuid}.zip"'
    assert response["X-Content-Type-Options"] == "nosniff"
    archive, manifest = unpacked(response)
    names = archive.namelist()
    assert len(names) == len({name.casefold() for name in names})
    assert not any(".." in name.split("/") or name.startswith("/") for name in names)
    assert [row.get("missing") for row in manifest] == [None, None, None, None, True]
    assert archive.read(manifest[0]["file"]) == big
    assert archive.read(manifest[1]["file"]) == b"second"
    assert archive.read(manifest[2]["file"]).decode() == "Grüße"
    assert manifest[3]["url"] == "https://example.com/"


def test_the_archive_of_a_large_file_is_streamed_in_chunks(
    root: Any, client: Any, media: Any
) -> None:
    content = ContentFile(b"\0" * 3_000_000, name="zeros")
    part(root, "render 1").add_artifact("Zeros", file=content)
    chunks = list(client.get(url(root, "archive")).streaming_content)
    assert len(chunks) > 40  # Of 64 kB before compression each.


def test_equal_names_in_an_archive_are_numbered(people: Any, client: Any) -> None:
    plan = container("group", leaf("a"), leaf("A"), name="g")
    plan.children[1].task_id = "b"  # To MariaDB "a" and "A" are the same.
    flat = submission.store_plan(plan, user_id=people.owner.pk)
    for status in UserTaskStatus.objects.filter(parent=flat):
        for _ in range(2):
            UserTaskArtifact.objects.create(status=status, name="n", text="t")
    archive, _ = unpacked(client.get(url(flat, "archive")))
    assert archive.namelist()[:-1] == ["a/n.txt", "a/n (2).txt", "A/n (3).txt", "A/n (4).txt"]


# -- failures and graphs --------------------------------------------------------------------------


def test_failures_have_a_path_a_message_and_the_number_of_prevented_tasks(
    root: Any, client: Any
) -> None:
    end(root, "read")
    end(root, "render 1", Phase.FAILED, "No ink.")
    with queries(4):
        answer = client.get(url(root, "failures")).json()
    assert answer == {
        "count": 1,
        "failures": [
            {
                "uuid": str(part(root, "render 1").uuid),
                "path": ["chapters", "chapter 1", "render 1"],
                "message": "No ink.",
                "attempts": 1,
                "allow_failure": False,
                "prevented": 2,
            }
        ],
    }


def test_the_graph_is_rendered_as_node_link_mermaid_and_dot(root: Any, client: Any) -> None:
    part(root, "render 1").set_name('He said "no" & <left>')
    data = client.get(url(root, "graph")).json()
    names = {row["id"]: row.get("name") for row in data["nodes"]}
    edges = {(names[edge["source"]], names[edge["target"]]) for edge in data["edges"]}
    assert ("read", "render 2") in edges and ("render 2", "pack 2") in edges
    assert ("pack 2", "notify") in edges
    mermaid = client.get(url(root, "graph", **{"as": "mermaid"}))
    assert mermaid["Content-Type"].startswith("text/plain")
    assert "#quot;no#quot; #amp; #lt;left#gt; (pending)" in mermaid.content.decode()
    assert "<left>" not in mermaid.content.decode()
    dot = client.get(url(root, "graph", **{"as": "dot"})).content.decode()
    assert '\\"no\\"' in dot and dot.startswith("digraph")
    assert client.get(url(root, "graph", **{"as": "tea"})).status_code == 400


# -- what sites do --------------------------------------------------------------------------------


def test_a_subclassed_view_renders_by_its_own_serializer(people: Any, root: Any) -> None:
    from rest_framework.test import APIRequestFactory, force_authenticate

    from user_workflows.serializers import StatusSerializer
    from user_workflows.views import StatusViewSet

    class Short(StatusSerializer):
        class Meta(StatusSerializer.Meta):
            fields = ("name", "state", "task_id")

    class Mine(StatusViewSet):
        serializer_class = Short

        def cancel(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            return super().cancel(request, *args, **kwargs)

    request = APIRequestFactory().post("/x/")
    force_authenticate(request, people.owner)
    data = Mine.as_view({"post": "cancel"})(request, uuid=str(root.uuid)).data
    assert set(data) == {"name", "state", "task_id", "canceled"}


def test_the_filter_backends_of_the_settings_are_callable_classes(people: Any, root: Any) -> None:
    from types import SimpleNamespace

    from user_workflows.conf import settings as conf

    request = SimpleNamespace(user=people.other)
    everything = UserTaskStatus.objects.all()
    backend = conf.USER_TASKS_STATUS_FILTERS[0]()
    assert list(backend.filter_queryset(request, everything, None)) == []
    assert reverse("usertaskstatus-list") == LIST


@pytest.mark.django_db(transaction=True)
def test_rows_of_a_long_transaction_are_restamped_when_it_commits(
    client_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writes are dated by the commit, so that no version taken meanwhile lies behind them."""
    monkeypatch.setattr(timestamps, "SLOW_WRITE", timedelta(seconds=0.05))
    root = export(a_user("owner"))
    past(root)
    with transaction.atomic():
        status = part(root, "read")
        status.start()
        status.set_state("Reading")
        time.sleep(0.1)
        before_commit = now()
    dated = UserTaskStatus.objects.filter(tree_id=root.pk, modified__gte=before_commit)
    assert {node.name for node in dated} == {"read", "Secret export"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["rename", "save", "say", "retry"])
def test_since_finds_writes_of_a_long_transaction_that_take_no_tree_lock(
    how: str, client_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that take no lock of the tree: a view that changes a node, slowly."""
    monkeypatch.setattr(timestamps, "SLOW_WRITE", timedelta(seconds=0.05))
    root = export(a_user("owner"))
    past(root)
    with transaction.atomic():
        status = part(root, "read")
        if how == "rename":
            status.name = "Renamed"
            status.save()
        elif how == "save":
            status.completed_steps = 1
            status.save()
        elif how == "say":
            status.state = "Reading"
            status.save()
        else:
            status.retry()
        time.sleep(0.1)
        version = now()  # Of who reads while nothing of it can be seen.
    told = tree_json.changed_nodes(root.tree(), version)
    assert told is not None and status.uuid in [node.uuid for node in told]


@pytest.mark.django_db(transaction=True)
def test_since_finds_a_write_that_waited_long_for_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a lock, which a statement may do for as long as somebody holds it."""
    monkeypatch.setattr(timestamps, "SLOW_WRITE", timedelta(seconds=0.05))
    root = export(a_user("owner"))
    past(root)
    status = part(root, "read")

    def wait(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and "state" in sql:
            time.sleep(0.1)
        return execute(sql, *args)

    with connection.execute_wrapper(wait):
        transitions.begin(status, 1)
        version = now() - timedelta(seconds=0.05)
    told = tree_json.changed_nodes(root.tree(), version)
    assert told is not None and status.uuid in [node.uuid for node in told]


def test_every_change_of_a_tree_changes_its_fingerprint(root: Any) -> None:
    """A client would get 304 and miss the change."""
    seen = [tree_json.fingerprint(root)]
    read = part(root, "read")

    def change(function: Any) -> None:
        function()
        assert tree_json.fingerprint(root) not in seen
        seen.append(tree_json.fingerprint(root))

    change(lambda: transitions.begin(read, 1))
    change(lambda: read.set_state("Reading"))
    change(lambda: read.increment_total_steps(2))
    change(lambda: spawning.attach_subtree(read, container("group", leaf("more"), name="sent")))
    change(lambda: part(root, "more").delete())
    # Of a host whose clock is behind: no later date, and still another one.
    nodes = UserTaskStatus.objects.filter(tree_id=root.pk)
    last = max(nodes.values_list("modified", flat=True))
    behind = UserTaskStatus.objects.filter(pk=part(root, "notify").pk)
    assert behind.get().modified < last
    change(lambda: behind.update(modified=behind.get().modified + timedelta(microseconds=1)))
    assert max(nodes.values_list("modified", flat=True)) == last


def test_an_unchanged_open_tree_takes_two_queries(root: Any, client: Any) -> None:
    transitions.begin(part(root, "read"), 1)
    first = client.get(url(root, "tree"))
    with queries(2) as few:  # The node, and the fingerprint.
        again = client.get(url(root, "tree"), headers={"If-None-Match": first["ETag"]})
    assert again.status_code == 304
    assert "COUNT" in few[1] and "GROUP BY" not in few[1]
    # Who asks for changes since then is told that there are none, whatever the version.
    since = client.get(url(root, "tree", since=first.json()["version"]))
    later = client.get(
        url(root, "tree", since=since.json()["version"]), headers={"If-None-Match": since["ETag"]}
    )
    assert later.status_code == 304


def test_numbering_many_equal_names_takes_few_lookups_each() -> None:
    class Taken(dict[str, int]):
        looks = 0

        def __contains__(self, name: object) -> bool:
            self.looks += 1
            return super().__contains__(name)

    taken = Taken()
    names = [archives._entry_name(["Render"], "Log.txt", taken) for _ in range(1000)]
    assert names[:3] == ["Render/Log.txt", "Render/Log (2).txt", "Render/Log (3).txt"]
    assert len({name.casefold() for name in names}) == 1000
    assert taken.looks < 4 * 1000


def test_since_works_without_time_zones(root: Any, client: Any, settings: Any) -> None:
    settings.USE_TZ = False
    UserTaskStatus.objects.update(created=now() - timedelta(hours=1), modified=now())
    version = client.get(url(root, "tree")).json()["version"]
    assert len(client.get(url(root, "tree", since=version)).json()["changed"]) == 10
    UserTaskStatus.objects.update(modified=now() - timedelta(hours=1))
    assert client.get(url(root, "tree", since=version)).json()["changed"] == []
