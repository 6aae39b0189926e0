"""My tasks: filter, search, paging, live rows; and the tag for other pages."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.template import Context, Template
from django.test import Client
from django.utils.timezone import now

from tests.helpers import queries
from tests.pages import scenes
from tests.pages.reading import known, text
from tests.pages.scenes import begin, end, midway, part, stored
from user_workflows.models import UserTaskStatus
from user_workflows.pages import views
from user_workflows.testing import container, leaf


def listed(client: Client, **query: Any) -> str:
    answer = client.get("/tasks/", query)
    assert answer.status_code == 200
    content: str = answer.content.decode()
    return content


def some(user: Any, count: int) -> None:
    for number in range(count):
        plan = container("chain", leaf("a"), leaf("b"), name=f"Task {number:03}")
        root = stored(plan, user, subject=f"S{number % 2}")
        UserTaskStatus.objects.filter(pk=root.pk).update(
            created=now() - timedelta(minutes=count - number)
        )


def test_an_empty_list_tells_nothing_started_from_nothing_found(client: Client) -> None:
    assert "You have not started anything yet." in listed(client)
    assert "None of your tasks is like that." in listed(client, q="x")


def test_the_list_is_paged_with_the_newest_first(people: Any, client: Client) -> None:
    some(people.owner, 30)
    words = text(listed(client))
    assert "Task 029" in words and "Task 005" in words and "Task 004" not in words
    assert words.index("Task 029") < words.index("Task 028") and "1–25 of 30" in words
    words = text(listed(client, page=2))
    assert "Task 004" in words and "Newer" in words
    assert "page=2&" not in listed(client, page=2, q="Task")
    assert "q=Task&amp;page=2" in listed(client, q="Task")


def test_the_list_is_filtered_by_phase_subject_and_search(people: Any, client: Client) -> None:
    some(people.owner, 4)
    scenes.failed(people.owner)
    scenes.settled(scenes.export(people.owner))
    assert "Task 00" not in listed(client, phase="failed")
    assert "Failing" in listed(client, phase="failed")
    assert "Succeeded" in text(listed(client, phase="succeeded")).split("Show")[1]
    words = text(listed(client, subject="S1"))
    assert "Task 001" in words and "Task 003" in words and "Task 002" not in words
    words = text(listed(client, q="task 002"))
    assert "Task 002" in words and "Task 001" not in words


def test_a_longer_list_costs_no_more_queries(people: Any, client: Client) -> None:
    some(people.owner, 1)
    with queries() as one:
        listed(client)
    some(people.owner, 20)
    with queries() as many:
        html = listed(client)
    assert len(one) == len(many) == 5  # Session, user, count, subjects, rows.
    with queries(3):
        client.get("/tasks/changes/", known(html))


def test_changed_rows_of_the_list_are_sent(people: Any, client: Client) -> None:
    root = midway(people.owner)
    some(people.owner, 2)
    html = listed(client)
    answer = client.get("/tasks/changes/", known(html))
    assert answer.json()["rows"] == {}
    tag = {"If-None-Match": answer["ETag"]}
    assert client.get("/tasks/changes/", known(html), headers=tag).status_code == 304
    end(root, "Render The Moon")
    told = client.get("/tasks/changes/", known(html), headers=tag).json()
    assert list(told["rows"]) == [str(root.uuid)] and not told["settled"]
    assert "29 of 53 steps" in text(told["rows"][str(root.uuid)])
    root.delete()
    assert client.get("/tasks/changes/", known(html)).json()["gone"] == [str(root.uuid)]


def test_the_template_tag_shows_a_live_bar_on_any_page(people: Any, client: Client) -> None:
    root = midway(people.owner)
    template = Template(
        "{% load user_workflows %}{% workflow_assets %}{% workflow_progress status %}"
    )
    with queries(0):
        html = template.render(Context({"status": root}))
    assert 'role="progressbar"' in html and "27 of 53 steps" in text(html)
    assert f'href="{root.get_absolute_url()}"' in html
    assert 'src="/static/user_workflows/workflows.js"' in html
    assert 'data-uw-live="/tasks/changes/?progress=1"' in html
    begin(root, "Render Deep sky")
    end(root, "Render Deep sky")
    told = client.get("/tasks/changes/", {"progress": 1, **known(html)}).json()["rows"]
    assert "33 of 53 steps" in text(told[str(root.uuid)])
    assert told[str(root.uuid)].startswith('<div class="uw-progress"')
    settled = template.render(Context({"status": scenes.settled(root)}))
    assert "data-uw-settled" in settled and part(root, "Notify").is_settled


def test_a_search_with_a_null_character_ignores_it(people: Any, client: Client) -> None:
    some(people.owner, 2)
    assert "Task 001" in text(listed(client, q="Task\0 001"))


def test_page_links_have_plain_numbers_in_every_language(
    people: Any, client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = "de", True
    monkeypatch.setattr(views, "PER_PAGE", 1)
    UserTaskStatus.objects.bulk_create(
        UserTaskStatus(
            user=people.owner, task_id=str(uuid4()), name=f"Task {i}", task_class="t",
            total_steps=1, tree_id=0, lft=1, rght=2, level=0,
        )
        for i in range(1003)
    )  # fmt: skip
    html = listed(client, page=1002)
    assert 'href="?page=1001"' in html and 'href="?page=1003"' in html
