"""Every method inherited from MPTT is right in spite of the gaps, overridden, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, models
from mptt.managers import TreeManager
from mptt.models import MPTTModel
from mptt.querysets import TreeQuerySet

from tests.helpers import assert_tree_is_sound, stored
from user_workflows.exceptions import TreeOperationRefused
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.testing import container, leaf

pytestmark = pytest.mark.django_db

Nodes = dict[str, UserTaskStatus]


@pytest.fixture
def nodes(db: None) -> Nodes:
    """r(a, b(c, d(e)), f), with the gaps of a submitted tree."""
    inner = container("group", leaf("e"), name="d")
    return stored(
        container(
            "group", leaf("a"), container("group", leaf("c"), inner, name="b"), leaf("f"), name="r"
        )
    )


def names(found: Any) -> str:
    return "".join(each.name for each in found)


def public(kind: type, base: type) -> set[str]:
    return {name for name in set(dir(kind)) - set(dir(base)) if not name.startswith("_")}


#: Right, as they are or overridden; each with a question and its answer in the tree above.
MODEL_RIGHT: dict[str, Callable[[Nodes], Any]] = {
    "get_ancestors": lambda n: (
        names(n["e"].get_ancestors()) == "rbd"
        and names(n["e"].get_ancestors(ascending=True, include_self=True)) == "edbr"
        and names(n["r"].get_ancestors()) == ""
    ),
    "get_children": lambda n: (
        names(n["b"].get_children()) == "cd" and names(n["a"].get_children()) == ""
    ),
    "get_descendants": lambda n: (
        names(n["b"].get_descendants()) == "cde"
        and names(n["r"].get_descendants(include_self=True)) == "rabcdef"
        and names(n["a"].get_descendants()) == ""
    ),
    "get_descendant_count": lambda n: (
        [n[name].get_descendant_count() for name in "rbda"] == [6, 3, 1, 0]
        and UserTaskStatus().get_descendant_count() == 0
    ),
    "get_family": lambda n: names(n["b"].get_family()) == "rbcde",
    "get_leafnodes": lambda n: (
        names(n["r"].get_leafnodes()) == "acef"
        and names(n["a"].get_leafnodes(include_self=True)) == "a"
        and names(n["a"].get_leafnodes()) == ""
    ),
    "get_level": lambda n: [n[name].get_level() for name in "rae"] == [0, 1, 3],
    "get_next_sibling": lambda n: (
        n["a"].get_next_sibling() == n["b"] and n["f"].get_next_sibling() is None
    ),
    "get_previous_sibling": lambda n: (
        n["f"].get_previous_sibling() == n["b"] and n["a"].get_previous_sibling() is None
    ),
    "get_root": lambda n: n["e"].get_root() == n["r"] == n["r"].get_root(),
    "get_siblings": lambda n: (
        names(n["b"].get_siblings()) == "af"
        and names(n["b"].get_siblings(include_self=True)) == "abf"
    ),
    "is_ancestor_of": lambda n: n["b"].is_ancestor_of(n["e"]) and not n["a"].is_ancestor_of(n["e"]),
    "is_child_node": lambda n: n["a"].is_child_node() and not n["r"].is_child_node(),
    "is_descendant_of": lambda n: (
        n["e"].is_descendant_of(n["r"]) and not n["a"].is_descendant_of(n["b"])
    ),
    "is_leaf_node": lambda n: n["a"].is_leaf_node() and not n["b"].is_leaf_node(),
    "is_root_node": lambda n: n["r"].is_root_node() and not n["a"].is_root_node(),
    "objects": lambda n: (
        UserTaskStatus._tree_manager is not None
        and names(UserTaskStatus.objects.all()) == "rabcdef"
    ),
}

MODEL_REFUSED: dict[str, Callable[[Nodes], Any]] = {
    "insert_at": lambda n: UserTaskStatus().insert_at(n["r"]),
    "move_to": lambda n: n["e"].move_to(n["a"]),
}

_objects = UserTaskStatus.objects

MANAGER_RIGHT: dict[str, Callable[[Nodes], Any]] = {
    "add_related_count": lambda n: True,  # Counts rows of other models by lft and rght: below.
    "get_cached_trees": lambda n: (
        names(_objects.filter(pk__in=[n["b"].pk, n["c"].pk]).get_cached_trees()) == "b"
        and names(_objects.all().get_cached_trees()[0].get_children()) == "abf"
    ),
    "get_queryset_ancestors": lambda n: (
        names(_objects.get_queryset_ancestors(_objects.filter(name__in="ce"))) == "rbd"
    ),
    "get_queryset_descendants": lambda n: (
        names(_objects.get_queryset_descendants(_objects.filter(name__in="ab"), include_self=True))
        == "abcde"
    ),
    "root_node": lambda n: _objects.root_node(n["r"].tree_id) == n["r"],
    "root_nodes": lambda n: names(_objects.root_nodes()) == "r",
    "parent_attr": lambda n: _objects.parent_attr == "parent",
    "left_attr": lambda n: _objects.left_attr == "lft",
    "right_attr": lambda n: _objects.right_attr == "rght",
    "tree_id_attr": lambda n: _objects.tree_id_attr == "tree_id",
    "level_attr": lambda n: _objects.level_attr == "level",
}

MANAGER_REFUSED: dict[str, Callable[[Nodes], Any]] = {
    "build_tree_nodes": lambda n: _objects.build_tree_nodes({}),
    "delay_mptt_updates": lambda n: _objects.delay_mptt_updates(),
    "disable_mptt_updates": lambda n: _objects.disable_mptt_updates(),
    "insert_node": lambda n: _objects.insert_node(UserTaskStatus(), n["r"]),
    "move_node": lambda n: _objects.move_node(n["e"], n["a"]),
    "partial_rebuild": lambda n: _objects.partial_rebuild(n["r"].tree_id),
    "rebuild": lambda n: _objects.rebuild(),
}

QUERYSET_RIGHT: dict[str, Callable[[Nodes], Any]] = {
    "get_ancestors": lambda n: names(_objects.filter(name="e").get_ancestors()) == "rbd",
    "get_descendants": lambda n: names(_objects.filter(name="b").get_descendants()) == "cde",
    "get_cached_trees": MANAGER_RIGHT["get_cached_trees"],
}


def test_every_public_method_of_mptts_model_is_classified() -> None:
    assert public(MPTTModel, models.Model) - {"Meta"} == set(MODEL_RIGHT) | set(MODEL_REFUSED)


def test_every_public_method_of_mptts_manager_is_classified() -> None:
    assert public(TreeManager, models.Manager) == set(MANAGER_RIGHT) | set(MANAGER_REFUSED)


def test_every_public_method_of_mptts_queryset_is_classified() -> None:
    assert public(TreeQuerySet, models.QuerySet) == set(QUERYSET_RIGHT)


@pytest.mark.parametrize("method", MODEL_RIGHT)
def test_of_the_model(method: str, nodes: Nodes) -> None:
    assert MODEL_RIGHT[method](nodes)


@pytest.mark.parametrize("method", MANAGER_RIGHT)
def test_of_the_manager(method: str, nodes: Nodes) -> None:
    assert MANAGER_RIGHT[method](nodes)


@pytest.mark.parametrize("method", QUERYSET_RIGHT)
def test_of_the_queryset(method: str, nodes: Nodes) -> None:
    assert QUERYSET_RIGHT[method](nodes)


@pytest.mark.parametrize("method", MODEL_REFUSED)
def test_refused_by_the_model(method: str, nodes: Nodes) -> None:
    with pytest.raises(TreeOperationRefused):
        MODEL_REFUSED[method](nodes)
    assert_tree_is_sound(nodes["r"].pk)


@pytest.mark.parametrize("method", MANAGER_REFUSED)
def test_refused_by_the_manager(method: str, nodes: Nodes) -> None:
    with pytest.raises(TreeOperationRefused, match="check_trees"):
        MANAGER_REFUSED[method](nodes)
    assert_tree_is_sound(nodes["r"].pk)


def test_counting_related_rows_cumulatively(nodes: Nodes) -> None:
    if connection.vendor == "mysql":
        pytest.skip("MPTT's subquery refers to columns two levels out, which MySQL does not see.")
    for name in "ace":
        nodes[name].add_artifact(text=name)
    counted = _objects.add_related_count(
        _objects.all(), UserTaskArtifact, "status", "artifact_count", cumulative=True
    )
    found = {status.name: status.artifact_count for status in counted}
    assert found == {"r": 3, "a": 1, "b": 2, "c": 1, "d": 1, "e": 1, "f": 0}


def test_the_tree_manager_is_ours_with_all_its_refusals() -> None:
    assert type(UserTaskStatus._tree_manager) is type(UserTaskStatus.objects)


def test_siblings_of_a_root_are_other_roots(nodes: Nodes) -> None:
    other = stored(leaf("z"))["z"]
    assert nodes["r"].get_next_sibling() == other
    assert other.get_previous_sibling() == nodes["r"]
    assert list(nodes["r"].get_siblings()) == [other]
