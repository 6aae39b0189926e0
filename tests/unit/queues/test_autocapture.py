"""Canvases that are sent without ``workflow()``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group

from tests.helpers import assert_tree_is_sound, phases
from tests.tasks import Boom, following, owned, plain
from user_workflows.exceptions import InvalidUser
from user_workflows.models import UserTaskStatus

pytestmark = pytest.mark.django_db
learner = pytest.fixture(name="learner")(lambda user: user)


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Any) -> Any:
    """Within it, what waits for the commit happens at its end."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


ROOT = Path(__file__).parents[3]
PUBLISHING = """
import os
os.environ.update(DJANGO_SETTINGS_MODULE="tests.settings", TEST_DATABASE_URL="sqlite://")
import django
django.setup()
from celery.signals import after_task_publish, before_task_publish
from django.contrib.auth import get_user_model
from django.core.management import call_command
from tests.celeryapp import app
from tests.tasks import owned, plain

call_command("migrate", verbosity=0)
get_user_model().objects.create(pk=1)
{sends}
print(bool(before_task_publish.receivers), bool(after_task_publish.receivers))
"""


def roots() -> list[UserTaskStatus]:
    return list(UserTaskStatus.objects.roots())


class TestPlainTasks:
    """A site that sends only plain tasks pays nothing."""

    @pytest.mark.parametrize(
        "canvas",
        [
            plain.s(1),
            plain.s(1) | plain.s(),
            group(plain.s(n) for n in range(5)),
            chord([plain.s(), plain.s()], plain.s()),
            chain(plain.s(), group(plain.s(), plain.s()), plain.s()),
            plain.map([1, 2]),
            plain.chunks([(1,), (2,)], 1),
        ],
        ids=lambda canvas: canvas.task,
    )
    def test_no_query(self, canvas: Any, sent: list[str], django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(0):
            canvas.apply_async()
            canvas.delay()
        assert sent
        assert roots() == []

    def test_no_query_for_a_task(self, sent: list[str], django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(0):
            plain.delay(1)
            plain.apply_async((1,), countdown=3)
            plain.apply_async((1,), {}, "an-id")
        assert sent[-1] == "an-id"
        assert len(sent) == 3

    @pytest.mark.parametrize(
        ("sends", "looked_at"),
        [
            ("plain.delay(1)", False),
            ("(plain.s(1) | plain.s()).delay()", False),
            ("app.send_task(plain.name, [1])", False),
            ("owned.delay(user_id=1)", True),
            ("app.send_task(owned.name, kwargs={'user_id': 1})", True),
        ],
    )
    def test_nobody_looks_at_what_is_published_before_something_is_tracked(
        self, sends: str, looked_at: bool
    ) -> None:
        code = PUBLISHING.format(sends=sends)
        command = [sys.executable, "-c", code]
        found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        assert found.stdout.split() == [str(looked_at)] * 2

    def test_a_generator_is_not_run_ahead_of_what_is_sent(self, sent: list[str]) -> None:
        ahead: list[int] = []

        def members() -> Iterator[Any]:
            for number in range(20):
                ahead.append(number - len(sent))
                yield plain.s(number)

        group(members()).apply_async()
        assert len(sent) == 20
        assert max(ahead) <= 2


class TestUserTasks:
    def test_one_task_is_one_tree(self, learner: Any, sent: list[str], committed: Any) -> None:
        with committed():
            result = owned.delay(learner.pk, tag="a", steps=3)
            assert sent == []
        (root,) = roots()
        assert (root.task_id, root.user, root.name) == (result.id, learner, "a")
        assert (root.total_steps, root.node_type) == (3, "task")
        assert sent == [result.id]

    @pytest.mark.parametrize(
        ("make", "kind", "leaves"),
        [
            (lambda t: chain(t("a"), t("b")), "chain", "ab"),
            (lambda t: t("a") | t("b") | t("c"), "chain", "abc"),
            (lambda t: group(t("a"), t("b")), "group", "ab"),
            (lambda t: group(t(tag) for tag in "abc"), "group", "abc"),
            (lambda t: chord([t("a"), t("b")], t("c")), "chord", "abc"),
            (lambda t: chain(t("a"), group(t("b"), t("c"))), "chain", "abc"),
            (lambda t: chain(group(t("a"), t("b")), t("c")), "chord", "abc"),
        ],
        ids=["chain", "pipe", "group", "generator", "chord", "nested", "upgraded"],
    )
    def test_a_canvas_is_one_tree(
        self, make: Any, kind: str, leaves: str, learner: Any, sent: list[str], committed: Any
    ) -> None:
        with committed():
            make(lambda tag: owned.si(learner.pk, tag=tag)).apply_async()
        (root,) = roots()
        assert root.node_type == kind
        assert [leaf.name for leaf in root.tree().leaves()] == list(leaves)
        assert set(sent) <= {leaf.task_id for leaf in root.tree().leaves()}
        assert_tree_is_sound(root.pk)

    def test_a_chord_whose_body_comes_late(
        self, learner: Any, sent: list[str], committed: Any
    ) -> None:
        with committed():
            chord([owned.si(learner.pk, tag="a")])(owned.si(learner.pk, tag="b"))
        (root,) = roots()
        assert [leaf.name for leaf in root.tree().leaves()] == ["a", "b"]
        assert len(sent) == 1

    def test_plain_members_have_no_node(
        self, learner: Any, sent: list[str], committed: Any
    ) -> None:
        with committed():
            chain(plain.s(), following.s(user_id=learner.pk, tag="a"), plain.s()).apply_async()
        (root,) = roots()
        assert [node.name for node in root.tree().leaves()] == ["a"]
        assert len(sent) == 1
        assert sent[0] not in [node.task_id for node in root.tree().walk()]

    def test_a_container_is_called_by_user_task_name(
        self, learner: Any, sent: list[str], committed: Any
    ) -> None:
        with committed():
            group(
                owned.si(learner.pk, tag="a"),
                owned.si(learner.pk, tag="b", user_task_name="Everything"),
            ).apply_async()
        (root,) = roots()
        assert [node.name for node in root.tree().walk()] == ["Everything", "a", "b"]

    def test_the_callers_canvas_may_be_sent_twice(
        self, learner: Any, sent: list[str], committed: Any
    ) -> None:
        canvas = group(owned.si(learner.pk, tag="a"), owned.si(learner.pk, tag="b"))
        with committed():
            canvas.delay()
            canvas.delay()
        assert len(roots()) == 2
        assert len(set(sent)) == 4

    @pytest.mark.django_db(transaction=True)
    def test_a_rollback_leaves_nothing_and_sends_nothing(
        self, learner: Any, sent: list[str]
    ) -> None:
        from django.db import transaction

        with pytest.raises(Boom), transaction.atomic():
            owned.delay(learner.pk)
            raise Boom
        assert (roots(), sent) == ([], [])

    def test_eager_tasks_are_captured_too(self, learner: Any, eager: None) -> None:
        chain(owned.si(learner.pk, tag="a"), owned.si(learner.pk, tag="b")).delay()
        (root,) = roots()
        assert set(phases(root.pk).values()) == {"SUCCEEDED"}

    def test_switched_off_a_task_still_has_its_node_and_a_canvas_none(
        self, learner: Any, sent: list[str], settings: Any, committed: Any
    ) -> None:
        settings.USER_WORKFLOWS_CAPTURE = False
        with committed():
            group(owned.si(learner.pk, tag="a"), owned.si(learner.pk, tag="b")).apply_async()
        assert all(not root.is_container for root in roots())
        assert len(sent) == 2


def test_a_task_that_is_sent_again_under_its_id_has_one_node(
    learner: Any, sent: list[str], committed: Any, caplog: Any
) -> None:
    for _ in range(2):
        with committed():
            owned.apply_async((learner.pk,), {"tag": "a"}, task_id="mine")
    assert sent == ["mine", "mine"]
    assert [root.task_id for root in roots()] == ["mine"]
    assert "will not see" not in caplog.text


class TestBadUsers:
    BAD = [{}, {"user_id": None}, {"user_id": 987654}, {"user_id": "nobody"}]

    @pytest.mark.parametrize("given", BAD, ids=str)
    def test_it_is_logged_and_the_task_is_sent(
        self, given: dict[str, Any], db: None, sent: list[str], caplog: Any
    ) -> None:
        following.apply_async((1,), {**given, "tag": "a"})
        assert len(sent) == 1
        assert roots() == []
        assert "will not see" in caplog.text

    def test_it_is_logged_once_for_all_tasks_of_a_canvas(
        self, db: None, sent: list[str], caplog: Any
    ) -> None:
        group(owned.si(987654, tag="a"), owned.si(987654, tag="b")).apply_async()
        assert len(sent) == 2
        assert caplog.text.count("will not see") == 1

    def test_a_chord_whose_body_comes_late_is_sent_with_its_body(
        self, db: None, sent: list[str]
    ) -> None:
        chord([owned.si(987654, tag="a")])(owned.si(987654, tag="b"))
        assert len(sent) == 1
        assert roots() == []

    @pytest.mark.parametrize("given", BAD, ids=str)
    def test_strictly_it_raises_and_nothing_is_sent(
        self, given: dict[str, Any], db: None, sent: list[str], settings: Any
    ) -> None:
        settings.USER_WORKFLOWS_STRICT = True
        with pytest.raises(InvalidUser):
            following.apply_async((1,), {**given, "tag": "a"})
        with pytest.raises(InvalidUser):
            group(following.s(1, tag="a", **given), plain.s()).apply_async()
        assert (roots(), sent) == ([], [])

    def test_a_canvas_of_nobody_is_sent_whole(self, db: None, sent: list[str]) -> None:
        group(following.s(1, tag="a"), plain.s()).apply_async()
        assert len(sent) == 2
        assert roots() == []
