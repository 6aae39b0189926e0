"""What an open page is told: exactly what has changed, in the words of the whole page."""

import re
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode

from django.test import Client
from django.utils.timezone import now

from tests.pages import scenes
from tests.pages.reading import address, known, page, text
from tests.pages.scenes import begin, end, export, many, midway, part
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase


def asked(client: Client, root: UserTaskStatus, html: str, tag: str = "") -> Any:
    headers = {"If-None-Match": tag} if tag else {}
    return client.get(address(root, "changes"), known(html), headers=headers)


def rows(html: str) -> dict[str, str]:
    found = re.findall(r'<tr class="uw-row .*?</tr>', html, re.S)
    return {re.search(r'id="node-([\w-]+)"', row)[1]: row for row in found}  # type: ignore[index]


def without_place(row: str) -> str:
    """A row without what only the page knows: where it stands, and whether it is open."""
    row = re.sub(r' aria-(posinset|setsize|expanded)="[^"]*"', "", row)
    row = re.sub(r'data-uw-toggle href="[^"]*"', "", row)
    return re.sub(r' data-uw-elapsed="[^"]*">[^<]*<', "><", row)


def test_an_unchanged_workflow_sends_nothing_and_then_304(people: Any, client: Client) -> None:
    for root in (export(people.owner), midway(people.owner), scenes.failed(people.owner)):
        html = page(client, root)
        answer = asked(client, root, html)
        assert answer.json() == {"settled": False, "rows": {}, "gone": [], "parts": {}}
        again = asked(client, root, html, answer["ETag"])
        if again.status_code == 200:  # Ten seconds were just over: time alone changes some texts.
            again = asked(client, root, html, again["ETag"])
        assert again.status_code == 304


def test_a_step_changes_its_row_and_those_of_all_ancestors(people: Any, client: Client) -> None:
    root = midway(people.owner)
    html = page(client, root)
    tag = asked(client, root, html)["ETag"]
    part(root, "Render The Moon").increment_completed_steps()
    answer = asked(client, root, html, tag)
    assert answer.status_code == 200
    told = answer.json()
    names = ("Export Watching the Night Sky", "Export chapters", "Chapters", "The Moon")
    assert set(told["rows"]) == {str(part(root, name).uuid) for name in (*names, "Render The Moon")}
    assert set(told["parts"]) == {"header"} and "28 of 53 steps" in text(told["parts"]["header"])


def test_a_delta_holds_the_same_html_as_the_whole_page(people: Any, client: Client) -> None:
    root = midway(people.owner)
    html = page(client, root)
    end(root, "Render The Moon", phase=Phase.FAILED, message="no moon")
    begin(root, "Render Deep sky", done=3)
    UserTaskStatus.objects.filter(pk=part(root, "Render Planets").pk).update(
        attempts=3, last_seen_at=now() - timedelta(minutes=7)
    )
    part(root, "Read the course").add_artifact("Late", text="x")
    renamed = part(root, "Deep sky")
    renamed.set_name("Galaxies & more")
    told = asked(client, root, html).json()
    fresh = page(client, root)
    whole = rows(fresh)
    assert told["rows"]
    for uuid, row in told["rows"].items():
        assert without_place(row) == without_place(whole[uuid])
    before = rows(html)
    changed = {
        uuid for uuid, row in whole.items() if without_place(row) != without_place(before[uuid])
    }
    assert changed == set(told["rows"])
    assert set(told["parts"]) == {"header", "choices", "failures", "artifacts"}
    assert told["parts"]["choices"] in fresh
    assert " Failed 1 " in text(told["parts"]["choices"])
    assert "no moon" in told["parts"]["failures"] and "Late" in told["parts"]["artifacts"]
    assert "Galaxies &amp; more" in told["rows"][str(renamed.uuid)]


def test_filter_links_of_a_filtered_page_keep_the_search(people: Any, client: Client) -> None:
    root = midway(people.owner)
    html = page(client, root, phase="running", q="render")
    found = re.search(r'data-uw-live="([^"]*)"', html)
    assert found
    end(root, "Render The Moon", phase=Phase.FAILED)
    told = client.get(f"{unescape(found[1])}&{urlencode(known(html))}").json()
    assert told["parts"]["choices"] in page(client, root, phase="running", q="render")
    assert "?phase=failed&amp;q=render" in told["parts"]["choices"]


def test_the_end_of_a_workflow_is_sent_as_settled(people: Any, client: Client) -> None:
    root = midway(people.owner)
    html = page(client, root)
    scenes.settled(root)
    told = asked(client, root, html).json()
    assert told["settled"] and 'data-uw-phase="SUCCEEDED settled"' in told["parts"]["header"]
    assert asked(client, root, page(client, root)).json()["rows"] == {}


def test_a_change_in_a_hidden_row_is_sent_only_in_the_sums_above(
    people: Any, client: Client
) -> None:
    root = many(60, people.owner, size=2)
    html = page(client, root)
    begin(root, "Part 3.0")
    told = asked(client, root, html).json()["rows"]
    assert str(part(root, "Part 3.0").uuid) not in told
    assert "1 running" in text(told[str(part(root, "Mail all students").uuid)])


def test_force_is_offered_when_canceled_tasks_do_not_stop(people: Any, client: Client) -> None:
    root = scenes.canceled(people.owner)
    html = page(client, root)
    UserTaskStatus.objects.filter(phase=Phase.CANCELED).update(
        modified=now() - timedelta(seconds=30)
    )
    told = asked(client, root, html).json()
    assert "Force stop" in told["parts"]["header"]
    assert "Force stop" in told["rows"][str(part(root, "Render The Moon").uuid)]


def test_a_stalled_task_and_a_new_artifact_change_the_row(people: Any, client: Client) -> None:
    root = midway(people.owner)
    html = page(client, root)
    task = part(root, "Render Planets")
    row = UserTaskStatus.objects.filter(pk=task.pk)
    row.update(last_seen_at=now() - timedelta(minutes=7))
    told = asked(client, root, html).json()
    assert list(told["rows"]) == [str(task.uuid)]
    assert "no heartbeat for 7 min" in text(told["rows"][str(task.uuid)])
    assert "no heartbeat" in text(told["parts"]["header"])
    row.update(last_seen_at=now())
    task.add_artifact("x", text="y")
    told = asked(client, root, html).json()
    assert "1 result" in text(told["rows"][str(task.uuid)]) and "header" not in told["parts"]


def test_deleted_rows_are_sent_as_gone_and_a_deleted_workflow_is_404(
    people: Any, client: Client
) -> None:
    root = midway(people.owner)
    html = page(client, root)
    gone = part(root, "Deep sky")
    gone.delete()
    assert str(gone.uuid) in asked(client, root, html).json()["gone"]
    root.delete()
    assert asked(client, root, html).status_code == 404


def test_rows_of_another_workflow_are_not_sent(people: Any, client: Client) -> None:
    root, other = midway(people.owner), midway(people.other)
    query = {"rows": f"{part(other, 'Planets').uuid.hex}.0"}
    assert client.get(address(root, "changes"), query).json()["rows"] == {}
    assert client.get("/tasks/changes/", {"rows": f"{other.uuid.hex}.0"}).json()["rows"] == {}
    own = client.get("/tasks/changes/", {"rows": f"{root.uuid.hex}.0"}).json()["rows"]
    assert list(own) == [str(root.uuid)]


def test_the_children_of_a_branch_come_page_by_page(people: Any, client: Client) -> None:
    root = many(120, people.owner, size=2)
    group = part(root, "Mail all students")
    first = page(client, root, "rows", of=group.uuid)
    assert first.count('class="uw-row ') == 50 and "Showing 1–50 of 120" in text(first)
    after = re.search(r'data-uw-after="([\w-]+)"', first)
    assert after
    second = page(client, root, "rows", of=group.uuid, after=after[1])
    assert "Batch 50" in second and "Showing 51–100 of 120" in text(second)
    for odd in ({}, {"of": "x"}, {"of": people.owner.pk}, {"of": midway(people.other).uuid}):
        assert client.get(address(root, "rows"), odd).status_code == 404
