"""The page of one workflow, in each state it can be found in."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.test import Client
from django.utils.timezone import now

from tests.helpers import queries
from tests.pages import scenes
from tests.pages.reading import address, known, page, shown, text
from tests.pages.scenes import begin, end, export, many, midway, part, stored
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase
from user_workflows.testing import container, leaf

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


def test_a_small_workflow_is_all_open(people: Any, client: Client) -> None:
    root = stored(
        container("chain", leaf("one"), container("group", leaf("a"), leaf("b"), name="both")),
        people.owner,
    )
    html = page(client, root)
    assert shown(html)[1:] == ["one", "both", "a", "b"]
    assert html.count('aria-expanded="true"') == 2
    assert "Pending" in text(html) and "0 of 3 steps" in text(html)
    assert 'aria-level="3" aria-posinset="2" aria-setsize="2"' in html


def test_a_workflow_of_one_task_is_one_row(people: Any, client: Client) -> None:
    root = stored(leaf("alone", total_steps=4), people.owner)
    begin(root, "alone", done=1)
    html = page(client, root)
    assert shown(html) == ["alone"] and "aria-expanded" not in html.split("<tbody")[1]
    assert "1 of 4 steps" in text(html)
    assert client.get(address(root, "changes"), known(html)).json()["rows"] == {}
    root.cancel()
    assert "Canceling (still running)" in text(page(client, root))


def test_a_running_workflow_shows_counts_steps_and_an_estimate(people: Any, client: Client) -> None:
    html = page(client, midway(people.owner))
    words = text(html)
    assert "In Progress" in words and "27 of 53 steps" in words and "50 %" in words
    assert "2 running" in words and "7 succeeded" in words and "9 pending" in words
    assert "38 % settled, 38 % succeeded" in words and "the total may still grow" in words
    assert "left (an estimate)" in words
    assert re.search(
        r'role="progressbar" aria-label="Export Watching the Night Sky" aria-valuemin="0" '
        r'aria-valuemax="53" aria-valuenow="27" aria-valuetext="27 of 53 steps"',
        html,
    )


def test_failures_come_first_with_what_they_prevented(people: Any, client: Client) -> None:
    root = scenes.failed(people.owner)
    html = page(client, root)
    words = text(html)
    assert "Failing (2 still running)" in words
    assert "2 tasks failed, 1 of them as was allowed" in words
    assert words.index("html/planets-text.html is missing") < words.index("3 links are dead")
    assert words.index("3 links are dead") < words.index("Search by name")
    assert "4 tasks not run because of this" in words and "was allowed to fail" in words
    assert "because of Render Planets" in words
    link = f'href="?node={part(root, "Render Planets").uuid}#node-'
    assert link in html


def test_many_failures_are_capped_with_the_true_total(people: Any, client: Client) -> None:
    root = many(20, people.owner)
    for i in range(12):
        begin(root, f"Mail {i}")
        end(root, f"Mail {i}", phase=Phase.FAILED, message=f"reason {i}.")
    words = text(page(client, root))
    assert "12 tasks failed" in words and "Showing 10 of 12." in words
    assert "reason 9." in words.split("Results")[0] and "reason 11." not in words.split("Steps")[0]


def test_a_canceled_workflow_counts_what_still_runs_and_then_offers_force(
    people: Any, client: Client
) -> None:
    root = scenes.canceled(people.owner)
    html = page(client, root)
    assert "Canceling (2 still running)" in text(html)
    assert "Force stop" not in text(html) and address(root, "cancel") not in html
    UserTaskStatus.objects.filter(phase=Phase.CANCELED).update(
        modified=now() - timedelta(seconds=30)
    )
    html = page(client, root)
    assert "Force stop" in text(html)
    assert address(part(root, "Render The Moon"), "cancel") + "?force=1" in html
    question = text(page(client, root, "cancel", force=1))
    assert "2 tasks that were asked to stop and still run will be ended at once" in question


def test_the_cancel_page_counts_what_it_will_do_and_then_cancels(
    people: Any, client: Client
) -> None:
    root = midway(people.owner)
    words = text(page(client, root, "cancel"))
    assert "9 pending tasks will not start." in words
    assert "2 running will be asked to stop." in words
    assert "7 finished stay, and their artifacts are kept." in words
    answer = client.post(address(root, "cancel"))
    assert answer["Location"] == address(root)
    words = text(page(client, root))
    assert "9 tasks will not start. 2 running were asked to stop." in words
    assert "Canceling (2 still running)" in words
    assert "Nothing here runs or will run" in text(page(client, root, "cancel"))


def test_a_branch_is_canceled_alone(people: Any, client: Client) -> None:
    root = midway(people.owner)
    branch = part(root, "Deep sky")
    assert address(branch, "cancel") in page(client, root)
    words = text(page(client, branch, "cancel"))
    assert "3 pending tasks will not start." in words
    assert "A part of Export Watching the Night Sky" in words
    answer = client.post(address(branch, "cancel"), headers={"Accept": "application/json"})
    assert answer.json() == {"message": "Canceled. 3 tasks will not start."}
    assert part(root, "Render Deep sky").phase == Phase.CANCELED
    assert part(root, "Render Planets").phase == Phase.RUNNING
    answer = client.post(address(branch, "cancel"))
    assert answer["Location"].endswith(f"?node={branch.uuid}#node-{branch.uuid}")
    assert "Nothing was canceled: all of it had ended before." in text(page(client, root))


def test_a_workflow_that_no_worker_takes_says_how_long_it_waits(
    people: Any, client: Client
) -> None:
    root = export(people.owner)
    assert "Waiting for a worker" not in text(page(client, root))
    UserTaskStatus.objects.update(created=now() - timedelta(minutes=3))
    assert "nothing has started yet, for 3 min 00 s" in text(page(client, root))
    begin(root, "Read the course")
    assert "Waiting for a worker" not in text(page(client, root))


def test_a_stalled_task_is_reported_in_row_and_header(people: Any, client: Client) -> None:
    root = midway(people.owner)
    silent = UserTaskStatus.objects.filter(pk=part(root, "Render Planets").pk)
    silent.update(last_seen_at=now() - timedelta(minutes=9, seconds=5))
    words = text(page(client, root))
    assert words.count("no heartbeat for 9 min 00 s") == 2
    assert "1 running task has sent no heartbeat" in words
    silent.update(last_seen_at=now())
    assert "no heartbeat" not in text(page(client, root))


def test_a_workflow_with_an_allowed_failure_succeeded_in_part(people: Any, client: Client) -> None:
    root = stored(
        container("group", leaf("a"), leaf("b", allow_failure=True), name="g"), people.owner
    )
    begin(root, "a", "b")
    end(root, "b", phase=Phase.FAILED, message="no ink")
    end(root, "a")
    words = text(page(client, root))
    assert "Succeeded with failures" in words and "not in all parts" in words
    assert "1 task failed, as was allowed" in words


def test_an_empty_group_says_that_it_has_no_tasks(people: Any, client: Client) -> None:
    root = stored(container("group", name="Nothing"), people.owner)
    html = page(client, root)
    assert "it has no tasks" in text(html)
    bar = re.search(r'<span class="uw-bar[^>]*>', html)
    assert bar and "aria-valuenow" not in bar[0] and 'aria-valuetext="No steps"' in bar[0]


def test_a_start_in_the_future_shows_no_negative_time(people: Any, client: Client) -> None:
    root = midway(people.owner)
    UserTaskStatus.objects.update(
        started_at=now() + timedelta(minutes=5), last_seen_at=now() + timedelta(minutes=5)
    )
    html = page(client, root)
    assert "running for 0.0 s" in text(html) and 'data-uw-elapsed="-' not in html


def test_markup_in_any_text_is_escaped(people: Any, client: Client, settings: Any) -> None:
    root = stored(
        container("chain", leaf("one"), leaf("two"), leaf("three"), name=EVIL),
        people.owner,
        subject=EVIL,
    )
    begin(root, "one")
    one = part(root, "one")
    one.set_state(EVIL)
    one.add_artifact(EVIL, text=EVIL)
    one.add_artifact("file", file=ContentFile(b"x", name='"><script>.txt'), content_type=EVIL)
    UserTaskArtifact.objects.create(status=one, name="bad link", url="javascript:alert(1)")
    UserTaskArtifact.objects.create(status=one, name="good link", url='https://x.test/"><script>')
    UserTaskStatus.objects.filter(pk=one.pk).update(name=EVIL)
    begin(root, "two")
    end(root, "two", phase=Phase.FAILED, message=EVIL)
    people.owner.username = EVIL[:150]
    people.owner.save()
    html = page(client, root)
    htmls = [html, page(client, root, "cancel"), page(client, root, "delete")]
    htmls += [page(client, root, "graph"), client.get("/tasks/").content.decode()]
    changes = client.get(address(root, "changes"), {"rows": f"{one.uuid.hex}.", "parts": "a.0"})
    htmls += changes.json()["rows"].values()
    htmls += [page(client, root, "rows", of=root.uuid)]
    assert one.uuid and len(changes.json()["rows"]) == 1
    for found in htmls:
        assert "<script>" not in found and "<img" not in found
        assert "onerror=alert(2)>" not in found
    assert "&lt;script&gt;" in html
    assert "javascript:" not in html and "bad link" in html
    assert 'rel="noopener noreferrer"' in html
    said = client.post(address(root, "cancel"), follow=True).content.decode()
    assert "<script>alert" not in said


def test_pages_have_no_inline_scripts_or_styles(people: Any, client: Client) -> None:
    root = scenes.failed(people.owner)
    for name in ("detail", "cancel", "graph"):
        html = page(client, root, name)
        assert not re.search(r'\sstyle="|\son[a-z]+="|<style', html)
        assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.S) == [""]
        assert not re.search(r'(src|href)="(https?:)?//(?!example\.com)', html)


def test_long_and_right_to_left_names_are_shown_whole(people: Any, client: Client) -> None:
    long, arabic = "x" * 128, "تصدير الدورة"
    root = stored(container("chain", leaf(long), leaf(arabic), name=long), people.owner)
    html = page(client, root)
    assert long in shown(html) and arabic in shown(html)
    assert f'dir="auto">{arabic}<' in html


# -- artifacts ------------------------------------------------------------------------------------


def test_artifacts_are_grouped_by_path_and_can_be_downloaded(people: Any, client: Client) -> None:
    root = midway(people.owner)
    task = part(root, "Pack Getting started")
    task.add_artifact("Archive", file=ContentFile(b"12345", name="chapter.zip"))
    task.add_artifact("Log", text="line\n" * 50)
    html = page(client, root)
    words = text(html)
    assert "Export chapters › Chapters › Getting started › Pack Getting started" in words
    file = task.artifacts.get(name="Archive")
    assert f'<a href="{file.file.url}" download>Archive</a>' in html and "5 B" in words
    assert "<details" in html.split('id="artifacts"')[1]
    assert f'id="artifacts-{task.uuid}"' in html and f'href="#artifacts-{task.uuid}"' in html
    archive = client.get(address(root, "archive"))
    assert b"".join(archive)[:2] == b"PK"  # type: ignore[arg-type]


def test_many_artifacts_are_capped_with_the_true_total(people: Any, client: Client) -> None:
    root = export(people.owner)
    task = part(root, "Read the course")
    for i in range(55):
        UserTaskArtifact.objects.create(status=task, name=f"Page {i}", text="x")
    UserTaskArtifact.objects.create(status=task, name="Error", text="oops")
    words = text(page(client, root))
    assert "Showing 50 of 55; the archive has all." in words and "Page 50" not in words
    assert "1 error message" in words


def test_a_workflow_without_artifacts_says_so(people: Any, client: Client) -> None:
    root = export(people.owner)
    assert "Nothing yet." in text(page(client, root))
    root = scenes.settled(root)
    assert "It has left nothing." in text(page(client, root))


# -- large trees ----------------------------------------------------------------------------------


def test_a_large_workflow_opens_one_level_and_the_paths_to_failed_and_running_tasks(
    people: Any, client: Client
) -> None:
    root = many(100, people.owner, size=5)
    for number in (3, 7):
        begin(root, f"Part {number}.0")
    end(root, "Part 3.0", phase=Phase.FAILED, message="no")
    html = page(client, root)
    names = shown(html)
    assert "Part 3.0" in names and "Part 7.4" in names and "Part 4.0" not in names
    assert "Batch 49" in names and "Batch 50" not in names
    assert "Showing 1–50 of 100; the rest: 250 pending" in text(html)
    assert "5 pending" in text(html)  # In place of the parts of a closed batch.


def test_pages_and_branches_open_without_a_script(people: Any, client: Client) -> None:
    root = many(120, people.owner, size=2)
    html = page(client, root)
    assert "Batch 0" not in shown(html)

    def follow(pattern: str, html: str) -> str:
        found = re.search(pattern, html, re.S)
        assert found
        link = found[1].replace("&amp;", "&").split("#")[0]
        return client.get(address(root) + link).content.decode()

    group = part(root, "Mail all students")
    toggle = rf'id="node-{group.uuid}".*?class="uw-toggle" data-uw-toggle href="([^"]+)"'
    html = follow(toggle, html)
    assert "Batch 49" in shown(html) and "Batch 50" not in shown(html)
    html = follow(r'data-uw-next href="([^"]+)"', html)
    assert "Showing 51–100 of 120" in text(html) and "Batch 50" in shown(html)
    html = follow(r'data-uw-next href="([^"]+)"', html)
    assert "Showing 101–120 of 120" in text(html) and "Batch 119" in shown(html)
    assert "data-uw-next" not in html
    html = follow(r'href="([^"]+)">Back<', html)
    assert "Showing 51–100 of 120" in text(html)
    html = follow(toggle, html)
    assert "Batch 50" not in shown(html)


def test_a_link_to_a_node_opens_the_path_to_it(people: Any, client: Client) -> None:
    root = many(120, people.owner, size=2)
    goal = part(root, "Part 70.1")
    answer = client.get(address(goal))
    assert answer["Location"] == f"{address(root)}?node={goal.uuid}#node-{goal.uuid}"
    html = client.get(answer["Location"]).content.decode()
    assert "Part 70.1" in shown(html) and "Batch 50" in shown(html)
    assert goal.get_absolute_url() == f"{address(root)}#node-{goal.uuid}"


def test_a_filter_by_phase_or_name_shows_matches_and_their_ancestors(
    people: Any, client: Client
) -> None:
    root = scenes.failed(people.owner)
    html = page(client, root, phase="failed")
    assert shown(html)[-1] == "Render Planets" and "Read the course" not in shown(html)
    assert "2 steps found." in text(html)
    html = page(client, root, q="the MOON")
    assert set(shown(html)) >= {"The Moon", "Render The Moon", "Pack The Moon", "Chapters"}
    assert "Planets" not in shown(html)
    html = page(client, root, q="no such thing")
    assert "No step is like that." in text(html)
    odd = {"phase": "nonsense", "open": "x", "after": "y", "node": "z"}
    assert len(shown(client.get(address(root), odd).content.decode())) == len(
        shown(page(client, root))
    )


def test_a_larger_workflow_costs_no_more_queries(people: Any, client: Client) -> None:
    counts = []
    for size in (5, 60):
        root = many(size, people.owner, size=2)
        begin(root, "Part 1.0")
        part(root, "Part 1.0").add_artifact("x", text="y")
        html = page(client, root)
        with queries() as first:
            page(client, root)
        with queries() as poll:
            client.get(address(root, "changes"), known(html))
        counts.append((len(first), len(poll)))
    assert counts[0] == counts[1]
    assert counts[0][0] <= 12 and counts[0][1] <= 16


def test_an_address_without_the_pages_included_names_what_is_missing(
    people: Any, settings: Any
) -> None:
    root = export(people.owner)
    settings.ROOT_URLCONF = "user_workflows.urls"
    with pytest.raises(ImproperlyConfigured, match=r"user_workflows\.pages\.urls"):
        root.get_absolute_url()


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_scripts_and_screen_readers_get_plain_numbers(
    people: Any, client: Client, settings: Any, language: str
) -> None:
    settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = language, True
    root = many(1100, people.owner)
    html = page(client, root, open=str(part(root, "Mail all students").uuid))
    html += client.get("/tasks/").content.decode()
    assert 'aria-setsize="1100"' in html and 'data-uw-children="1100"' in html
    numbers = r' (aria-(?:level|posinset|setsize|value(?:min|max|now))|data-uw-children)="(.*?)"'
    assert all(re.fullmatch(r"\d+", value) for _, value in re.findall(numbers, html))
    assert 'aria-valuemax="1102"' in html
