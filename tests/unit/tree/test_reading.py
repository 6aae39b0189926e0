"""What a node tells of its subtree: artifacts, failures, counts, a graph."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage

from tests.helpers import queries, stored
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db

Nodes = dict[str, UserTaskStatus]


@pytest.fixture
def nodes(db: None) -> Nodes:
    chord = container(
        "chord", container("group", leaf("b"), leaf("c"), name="header"), leaf("d"), name="chord"
    )
    return stored(container("chain", leaf("a"), chord, name="root"))


def texts(found: Any) -> list[str]:
    return [artifact.text for artifact in found]


class TestArtifacts:
    def test_a_subtrees_artifacts_come_in_tree_order(self, nodes: Nodes) -> None:
        for name in ("d", "a", "c", "b"):
            nodes[name].add_artifact(text=name)
        nodes["b"].add_artifact("Log", text="b2")
        assert texts(nodes["root"].subtree_artifacts()) == ["a", "b", "b2", "c", "d"]
        assert texts(nodes["header"].subtree_artifacts()) == ["b", "b2", "c"]
        assert texts(nodes["root"].subtree_artifacts("Log")) == ["b2"]
        assert texts(nodes["a"].subtree_artifacts()) == ["a"]

    def test_other_trees_are_left_out(self, nodes: Nodes) -> None:
        stored(leaf("z"))["z"].add_artifact(text="z")
        assert texts(nodes["root"].subtree_artifacts()) == []

    def test_an_error_is_copied_once_to_each_container_and_the_copies_are_left_out(
        self, nodes: Nodes
    ) -> None:
        nodes["b"].fail("no b")
        nodes["c"].fail("no c")
        for name in ("header", "chord", "root"):
            assert texts(nodes[name].artifacts.filter(name="Error")) == ["no b"]
        assert texts(nodes["root"].subtree_artifacts()) == ["no b", "no c"]
        assert texts(nodes["root"].subtree_artifacts("Error")) == ["no b", "no c"]
        copied = UserTaskArtifact.objects.below(nodes["root"])
        assert copied.count() > 2

    def test_artifacts_of_nodes_in_one_phase(self, nodes: Nodes) -> None:
        nodes["a"].add_artifact(text="a")
        nodes["b"].add_artifact(text="b")
        nodes["b"].fail("no b")
        root = nodes["root"]
        assert texts(root.subtree_artifacts(phase=Phase.FAILED).order_by("pk")) == ["b", "no b"]
        assert texts(root.subtree_artifacts("Output", phase="PENDING")) == ["a"]

    def test_an_allowed_failure_is_told_on_its_leaf_alone(self) -> None:
        nodes = stored(container("group", leaf("a", allow_failure=True), leaf("b"), name="root"))
        nodes["a"].fail("no a")
        assert nodes["root"].artifacts.count() == 0
        assert texts(nodes["root"].subtree_artifacts()) == ["no a"]

    @pytest.mark.parametrize("data", [{"why": "disk"}, ["disk", 3], 7, None, {"at": object}])
    def test_a_reason_may_be_data(self, nodes: Nodes, data: Any) -> None:
        nodes["a"].fail(data)
        assert json.loads(nodes["a"].artifacts.get().text) == json.loads(
            json.dumps(data, default=str)
        )

    def test_an_empty_reason_leaves_no_artifact(self, nodes: Nodes) -> None:
        nodes["a"].fail("")
        assert not UserTaskArtifact.objects.exists()
        assert nodes["a"].phase == Phase.FAILED

    def test_size_and_type_are_noted_where_known(
        self, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        field = UserTaskArtifact._meta.get_field("file")
        monkeypatch.setattr(field, "storage", InMemoryStorage())
        text = nodes["a"].add_artifact(text="größer", content_type="text/plain")
        assert (text.name, text.size, text.content_type) == ("Output", 8, "text/plain")
        file = nodes["a"].add_artifact("Archive", file=ContentFile(b"12345", name="course.zip"))
        assert (file.size, file.file.read()) == (5, b"12345")
        link = nodes["a"].add_artifact("Page", url="https://example.com/")
        assert (link.size, link.url) == (None, "https://example.com/")
        assert nodes["root"].subtree_artifacts().count() == 3


class TestFailures:
    def test_causes_come_before_failures_that_were_allowed(self) -> None:
        nodes = stored(
            container(
                "group", leaf("a", allow_failure=True), leaf("b"), leaf("c"), leaf("d"), name="r"
            )
        )
        nodes["a"].fail("first, but allowed")
        nodes["c"].fail("first")
        nodes["b"].fail("second")
        nodes["d"].succeed()
        assert [n.name for n in nodes["r"].failures()] == ["c", "b", "a"]
        assert [n.name for n in nodes["b"].failures()] == ["b"]

    def test_containers_are_no_failures(self, nodes: Nodes) -> None:
        nodes["b"].fail("x")
        assert [n.name for n in nodes["root"].failures()] == ["b"]
        assert [n.name for n in nodes["chord"].failures()] == ["b"]
        assert not nodes["a"].failures()

    def test_what_was_prevented_says_by_whom(self, nodes: Nodes) -> None:
        nodes["a"].fail("x")
        found = UserTaskStatus.objects.filter(tree_id=nodes["root"].pk, caused_by=nodes["a"])
        assert {n.name for n in found} == {"root", "chord", "header", "b", "c", "d"}
        nodes["a"].delete()
        assert UserTaskStatus.objects.filter(caused_by__isnull=True).count() == 6


def test_counts_are_of_leaves_in_one_query(nodes: Nodes) -> None:
    nodes["a"].succeed()
    nodes["b"].start()
    with queries(1):
        counts = nodes["root"].counts()
    assert counts == {Phase.SUCCEEDED: 1, Phase.RUNNING: 1, Phase.PENDING: 2}
    assert nodes["header"].counts() == {Phase.RUNNING: 1, Phase.PENDING: 1}
    assert nodes["a"].counts() == {Phase.SUCCEEDED: 1}


@pytest.mark.parametrize("use_tz", [True, False])
def test_a_tree_has_its_dates_as_its_nodes_have_them(
    nodes: Nodes, settings: Any, use_tz: bool
) -> None:
    settings.USE_TZ = use_tz
    for found in nodes["root"].tree().walk():
        stored = UserTaskStatus.objects.get(pk=found.pk)
        assert (found.created, found.modified) == (stored.created, stored.modified)
        assert found.created.utcoffset() == stored.created.utcoffset()


def test_the_graph_after_submission_in_one_query(nodes: Nodes) -> None:
    with queries(1):
        graph = nodes["root"].graph()
    edges = sorted((first.name, then.name) for first, then in graph.edges)
    assert edges == [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]


def test_lists_of_workflows(nodes: Nodes) -> None:
    done = stored(leaf("done"))["done"]
    done.succeed()
    objects = UserTaskStatus.objects
    assert set(objects.roots()) == {nodes["root"], done}
    assert set(objects.roots().active()) == {nodes["root"]}
    assert set(objects.settled()) == {done}
    assert set(objects.roots().for_user(done.user)) == {nodes["root"], done}
    assert objects.latest_for(done.user) == done


def test_subtrees_of_several_nodes_in_two_queries(nodes: Nodes) -> None:
    other = stored(container("group", leaf("x"), name="y"))
    wanted = UserTaskStatus.objects.filter(pk__in=[nodes["header"].pk, other["y"].pk])
    with queries(2):
        found = [n.name for n in wanted.with_subtree()]
    assert found == ["header", "b", "c", "y", "x"]
    assert list(wanted.none().with_subtree()) == []


def test_subtrees_of_more_nodes_than_a_condition_may_name(user: Any) -> None:
    made = stored(container("group", *(leaf(str(at)) for at in range(1500)), name="root"))
    members = UserTaskStatus.objects.filter(parent=made["root"])
    assert members.with_subtree().count() == 1500
    first = members.order_by("lft")[:3]
    assert [n.name for n in first.with_subtree()] == ["0", "1", "2"]


@pytest.mark.parametrize("phase", list(Phase))
def test_each_state_is_shown_in_the_readers_language(phase: Phase) -> None:
    from django.utils.translation import override

    status = UserTaskStatus(state=phase.state)
    with override("en"):
        assert str(status.state_text) == phase.state
    assert UserTaskStatus(state="My own").state_text == "My own"
