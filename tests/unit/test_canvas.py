"""``workflow()``: who and what it takes, what it writes when, what the result object is."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chain, chord, group
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import connection, transaction

from tests.helpers import assert_tree_is_sound, phases, queries
from tests.tasks import Boom, plain, strict, user
from user_workflows import canvas as ours
from user_workflows.canvas import workflow
from user_workflows.exceptions import InvalidCanvas, InvalidUser
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.queues.celery import submission

pytestmark = pytest.mark.django_db
learner = pytest.fixture(name="learner")(lambda user: user)


class TestUser:
    @pytest.mark.parametrize(
        "nobody",
        [None, AnonymousUser(), 987654, "987654", "nobody", "", object(), [], {}, 1.5j],
        ids=lambda value: type(value).__name__,
    )
    def test_nobody_is_refused(self, nobody: Any, db: None) -> None:
        with pytest.raises(InvalidUser, match="needs a user"):
            workflow(plain.s(), user=nobody)

    def test_a_number_without_an_end_is_refused(self, db: None) -> None:
        with pytest.raises(InvalidUser, match="needs a user"):
            workflow(plain.s(), user=float("inf"))

    def test_an_unsaved_user_is_refused(self) -> None:
        with pytest.raises(InvalidUser, match="saved user"):
            workflow(plain.s(), user=get_user_model()(username="new"))

    def test_a_user_may_be_given_by_key(self, learner: Any) -> None:
        for given in (learner, learner.pk, str(learner.pk)):
            status = workflow(group([]), user=given).delay()
            status.refresh_from_db()
            assert status.user == learner

    def test_a_lazy_user_of_a_request_will_do(self, learner: Any) -> None:
        from django.utils.functional import SimpleLazyObject

        flow = workflow(plain.s(), user=SimpleLazyObject(lambda: learner))
        assert flow.user_id == learner.pk


class TestCanvas:
    @pytest.mark.parametrize("canvas", [None, 3, "add", [plain.s()], plain, {}])
    def test_what_is_no_signature_is_refused(self, canvas: Any, learner: Any) -> None:
        with pytest.raises(InvalidCanvas, match="made of signatures"):
            workflow(canvas, user=learner)

    def test_a_chord_without_a_body_is_refused(self, learner: Any) -> None:
        with pytest.raises(InvalidCanvas, match="needs a body"):
            workflow(chord([plain.s(), plain.s()]), user=learner)

    def test_arguments_that_a_user_task_does_not_take_are_refused(self, learner: Any) -> None:
        for wrong in (strict.s(), strict.s(1, third=3), strict.si(), strict.s(1, 2, 3)):
            with pytest.raises(TypeError):
                workflow(chain(plain.s(), wrong) if wrong.immutable else wrong, user=learner)

    def test_the_result_of_an_earlier_task_counts_as_an_argument(self, learner: Any) -> None:
        assert workflow(chain(plain.s(), strict.s()), user=learner).plan.total_steps == 2

    def test_a_result_too_many_is_refused(self, learner: Any) -> None:
        canvas = chain(plain.s(), strict.s(1, 2, 3))
        with pytest.raises(TypeError):
            workflow(canvas, user=learner)

    @pytest.mark.parametrize("field", ["action", "subject"])
    def test_keys_that_are_too_long_are_refused(self, field: str, learner: Any) -> None:
        with pytest.raises(ValueError, match=field):
            workflow(plain.s(), user=learner, **{field: "x" * 1000})

    @pytest.mark.parametrize(
        "canvas", [group([]), ours.group([]), ours.group(group([]), group([]))]
    )
    def test_an_empty_workflow_has_succeeded(self, canvas: Any, learner: Any, sent: Any) -> None:
        status = workflow(canvas, user=learner).delay()
        assert (status.phase, status.is_settled, status.percent) == (Phase.SUCCEEDED, True, 0)
        assert UserTaskStatus.objects.get(pk=status.pk).finished_sent_at is not None
        assert sent == []

    def test_a_refused_canvas_leaves_nothing(self, learner: Any) -> None:
        with pytest.raises(TypeError):
            workflow(group(user.s(), strict.s()), user=learner)
        assert not UserTaskStatus.objects.exists()


class TestSubmission:
    def test_the_root_says_what_was_asked_for(self, learner: Any, sent: Any) -> None:
        flow = workflow(
            group(plain.s(), plain.s()), user=learner, name="Do", action="do.it", subject="s"
        )
        status = flow.delay()
        status.refresh_from_db()
        assert (status.name, status.action, status.subject) == ("Do", "do.it", "s")
        assert UserTaskStatus.objects.latest_for(learner, action="do.it", subject="s") == status
        assert UserTaskStatus.objects.latest_for(learner, action="other") is None

    @pytest.mark.django_db(transaction=True)
    def test_the_tree_is_there_before_the_first_message(self, learner: Any, sent: Any) -> None:
        seen: list[int] = []
        from celery.signals import before_task_publish

        def look(headers: Any = None, **kwargs: Any) -> None:
            seen.append(UserTaskStatus.objects.filter(task_id=headers["id"]).count())

        before_task_publish.connect(look)
        try:
            status = workflow(group(plain.s(), user.s()), user=learner).delay()
        finally:
            before_task_publish.disconnect(look)
        assert seen == [1, 1]
        assert set(sent) == {leaf.task_id for leaf in status.tree().leaves()}
        assert_tree_is_sound(status.tree_id)

    @pytest.mark.django_db(transaction=True)
    def test_only_what_can_start_is_sent(self, learner: Any, sent: Any) -> None:
        status = workflow(chain(plain.s(), user.s(), plain.s()), user=learner).delay()
        assert sent == [status.tree().children[0].task_id]
        assert status.result.id == status.tree().children[2].task_id

    def test_inside_a_transaction_it_is_sent_on_commit(
        self, learner: Any, sent: Any, django_capture_on_commit_callbacks: Any
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            status = workflow(plain.s(), user=learner).delay()
            assert status.result.id == status.task_id
            assert sent == []
        assert sent == [status.task_id]

    @pytest.mark.django_db(transaction=True)
    def test_a_rollback_leaves_nothing_and_sends_nothing(self, learner: Any, sent: Any) -> None:
        with pytest.raises(Boom), transaction.atomic():
            workflow(group(plain.s(), user.s()), user=learner).delay()
            raise Boom
        assert sent == []
        assert not UserTaskStatus.objects.exists()

    def test_twice_makes_two_trees(
        self, learner: Any, sent: Any, django_capture_on_commit_callbacks: Any
    ) -> None:
        flow = workflow(chain(plain.s(), group(plain.s(), user.s())), user=learner)
        with django_capture_on_commit_callbacks(execute=True):
            first, second = flow.delay(), flow.apply_async(countdown=60)
        assert len(set(sent)) == 2
        ids = [{node.task_id for node in status.tree().walk()} for status in (first, second)]
        assert not ids[0] & ids[1]
        assert not ids[0] & {node.task_id for node in flow.plan.walk()}

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize(
        "canvas",
        [
            plain.map([1, 2]),
            plain.starmap([(1,)]),
            plain.chunks([(1,), (2,)], 1),
            group(plain.map([1])),
        ],
        ids=["map", "starmap", "chunks", "map in a group"],
    )
    def test_what_is_sent_has_the_ids_of_the_tree(
        self, canvas: Any, learner: Any, sent: Any
    ) -> None:
        status = workflow(canvas, user=learner).delay()
        assert sent == [leaf.task_id for leaf in status.tree().leaves()]

    @pytest.mark.django_db(transaction=True)
    def test_an_id_may_be_chosen(self, learner: Any, sent: Any) -> None:
        status = workflow(chain(plain.s(), user.s()), user=learner).apply_async(task_id="mine")
        assert [leaf.task_id for leaf in status.tree().leaves()][-1] == "mine"
        assert status.result.id == "mine"

    @pytest.mark.django_db(transaction=True)
    def test_what_could_not_be_sent_has_failed_in_words(
        self, learner: Any, sent: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = plain.app.amqp.send_task_message

        def send(*args: Any, **kwargs: Any) -> Any:
            if sent:
                raise Boom("no broker")
            return original(*args, **kwargs)

        monkeypatch.setattr(plain.app.amqp, "send_task_message", send)
        canvas = chord([user.s(tag="a"), user.s(tag="b")], user.s(tag="c"))
        with pytest.raises(Boom):
            workflow(ours.tracked(canvas, name="all"), user=learner).delay()
        root = UserTaskStatus.objects.get(name="all")
        found = phases(root.pk)
        assert [found[name] for name in "abc"] == ["PENDING", "FAILED", "SKIPPED"]
        assert root.phase == Phase.FAILED
        assert not root.is_settled
        failed = root.failures().get()
        assert failed.artifacts.get().text.endswith("no broker")
        assert UserTaskStatus.objects.get(name="c").caused_by == failed


class TestEager:
    def test_it_runs_at_once_though_in_a_transaction(
        self, learner: Any, eager: None, calls: list[str]
    ) -> None:
        status = workflow(chain(user.si(tag="a"), user.si(tag="b")), user=learner).delay()
        assert calls == ["a", "b"]
        assert (status.phase, status.is_settled, status.percent) == (Phase.SUCCEEDED, True, 100)
        assert status.result.get() == "b"

    @pytest.mark.parametrize("propagates", [False, True])
    def test_a_failure_is_told_with_either_setting_of_propagation(
        self, learner: Any, eager: None, propagates: bool
    ) -> None:
        plain.app.conf.task_eager_propagates = propagates
        flow = workflow(chain(user.s(tag="a", do="raise"), user.s(tag="b")), user=learner)
        try:
            with pytest.raises(Boom):
                flow.delay()
        finally:
            plain.app.conf.task_eager_propagates = False
        root = UserTaskStatus.objects.roots().get()
        assert (root.phase, root.is_settled) == (Phase.FAILED, True)
        assert root.failures().get().artifacts.get().text == "a went wrong"

    def test_a_second_attempt_is_counted(self, learner: Any, eager: None) -> None:
        status = workflow(user.s(tag="a", do="retry", steps=2), user=learner).delay()
        status.refresh_from_db()
        assert (status.phase, status.attempts, status.completed_steps) == (Phase.SUCCEEDED, 2, 2)


def test_submitting_costs_two_queries_and_one_for_each_level(learner: Any, eager: None) -> None:
    flow = workflow(chain(group(plain.s(), plain.s()), plain.s()), user=learner)
    pass

    with queries() as sql:
        submission.store_plan(flow.plan, user_id=learner.pk)
    inserts = [query for query in sql if query.startswith(("INSERT", "COPY"))]
    assert len(inserts) == (1 if connection.vendor == "postgresql" else 3)
