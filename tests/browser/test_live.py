"""Live updates of open pages, which keep focus, scroll position and open branches."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from tests.pages import scenes
from tests.pages.scenes import begin, end, many, midway, part
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase

Browse = Callable[..., Page]


def row(page: Page, node: UserTaskStatus) -> Any:
    return page.locator(f"#node-{node.uuid}")


def mark(page: Page) -> None:
    """Mark the page, so that a reload is detected."""
    page.evaluate("window.unloaded = false")


def assert_not_reloaded(page: Page) -> None:
    assert page.evaluate("window.unloaded") is False


def polls(page: Page) -> list[Request]:
    found: list[Request] = []
    page.on("request", lambda request: "/changes/" in request.url and found.append(request))
    return found


def test_workflow_page_updates_without_reload(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse(root)
    mark(page)
    expect(row(page, part(root, "Render The Moon"))).to_contain_text("4/6")
    end(root, "Render The Moon")
    begin(root, "Check links of The Moon", done=1)
    part(root, "Check links of The Moon").set_state("Asking nasa.gov")
    expect(row(page, part(root, "Render The Moon"))).to_contain_text("Succeeded")
    expect(row(page, part(root, "Check links of The Moon"))).to_contain_text("Asking nasa.gov")
    expect(page.locator(".uw-head")).to_contain_text("30 of 53 steps")
    expect(page.locator(".uw-head [role=progressbar]")).to_have_attribute("aria-valuenow", "30")
    end(root, "Check links of The Moon", phase=Phase.FAILED, message="nasa.gov is away")
    expect(page.locator(".uw-failures")).to_contain_text("nasa.gov is away")
    expect(page.locator("[data-uw-announce]")).to_contain_text("Failing")
    part(root, "Render Planets").add_artifact("A late result", text="here")
    expect(page.locator(".uw-artifacts")).to_contain_text("A late result")
    assert_not_reloaded(page)


def test_list_and_template_tag_update_without_reload(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse("/tasks/")
    widget = browse(f"/widget/{root.pk}/")
    for each in (page, widget):
        mark(each)
        expect(each.locator("[data-uw-row]")).to_contain_text("27 of 53 steps")
    end(root, "Render The Moon")
    for each in (page, widget):
        expect(each.locator("[data-uw-row]")).to_contain_text("29 of 53 steps")
        assert_not_reloaded(each)


def test_polling_stops_when_the_workflow_is_settled(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse(root)
    found = polls(page)
    scenes.settled(root)
    expect(page.locator(".uw-head")).to_contain_text("Succeeded")
    expect(page.locator(".uw-head").get_by_role("link", name="Delete")).to_be_visible()
    page.wait_for_selector("[data-uw-settled]")
    count = len(found)
    page.wait_for_timeout(2500)
    assert len(found) == count
    again = browse(root)
    found = polls(again)
    again.wait_for_timeout(1500)
    assert found == []


def test_rows_out_of_view_are_updated_when_scrolled_into_view(learner: Any, browse: Browse) -> None:
    root = many(48, learner)
    begin(root, "Mail 0")
    page = browse(root, viewport={"width": 1000, "height": 300})
    begin(root, "Mail 47")
    expect(page.locator(".uw-head")).to_contain_text("2 running")
    last = row(page, part(root, "Mail 47"))
    expect(last).to_contain_text("Pending")  # It is out of view.
    last.scroll_into_view_if_needed()
    expect(last).to_contain_text("In Progress")
    page.evaluate("window.scrollTo(0, 0)")
    root.cancel()
    end(root, "Mail 0", "Mail 47", phase=Phase.CANCELED)
    page.wait_for_selector("[data-uw-settled]")
    assert page.locator(".uw-row .uw-state", has_text="Canceled").count() >= 49
    expect(last).to_contain_text("Canceled")
    expect(last).not_to_contain_text("Canceling")


def test_update_keeps_focus_expansion_scroll_and_selection(learner: Any, browse: Browse) -> None:
    root = many(120, learner, size=2)
    begin(root, "Part 2.0", "Part 90.0")
    page = browse(root)
    closed, opened = part(root, "Batch 2"), part(root, "Batch 40")
    row(page, closed).locator("[data-uw-toggle]").click()
    row(page, opened).locator("[data-uw-toggle]").click()
    child = row(page, part(root, "Part 40.1"))
    child.scroll_into_view_if_needed()
    child.evaluate("e => { window.kept = e; e.focus(); }")
    page.evaluate(
        """id => {
            const text = document.querySelector(`#${id} .uw-name-text`).firstChild;
            document.getSelection().setBaseAndExtent(text, 0, text, 5);
        }""",
        f"node-{part(root, 'Batch 41').uuid}",
    )
    before = page.evaluate("window.scrollY")
    assert before > 0
    begin(root, "Part 40.0", "Part 40.1", done=1)
    part(root, "Part 40.1").set_state("Moving on")
    begin(root, "Part 41.0")
    expect(child).to_contain_text("Moving on")
    expect(row(page, part(root, "Batch 41"))).to_contain_text("In Progress")
    assert page.evaluate("window.kept === document.activeElement")
    assert page.evaluate("document.getSelection().toString()") == "Batch"
    assert page.evaluate("window.scrollY") == before
    expect(row(page, closed)).to_have_attribute("aria-expanded", "false")
    expect(row(page, opened)).to_have_attribute("aria-expanded", "true")
    expect(row(page, part(root, "Part 2.0"))).to_be_hidden()


def test_focused_button_does_not_turn_into_another_one(learner: Any, browse: Browse) -> None:
    root = many(3, learner)
    begin(root, "Prepare")
    page = browse(root)
    head = page.locator(".uw-head")
    cancel = head.get_by_role("link", name="Cancel")
    cancel.focus()
    part(root, "Prepare").add_artifact("x", text="y")
    expect(head.get_by_role("link", name="Download all")).to_be_visible()
    expect(cancel).to_be_focused()
    scenes.settled(root)
    delete = head.get_by_role("link", name="Delete")
    expect(delete).to_be_visible()
    expect(delete).not_to_be_focused()


def test_hidden_tab_does_not_poll(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse(root)
    found = polls(page)
    with page.expect_request("**/changes/**"):
        pass
    hide = """state => {
        Object.defineProperty(document, "hidden", {value: state, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(300)  # For a poll that was already sent.
    count = len(found)
    end(root, "Render The Moon")
    page.wait_for_timeout(2500)
    assert len(found) == count
    page.evaluate(hide, False)
    expect(row(page, part(root, "Render The Moon"))).to_contain_text("Succeeded")


def test_polling_slows_down_while_nothing_changes(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse(root)
    page.clock.install()
    page.reload()
    found = polls(page)
    for _ in range(60):
        page.clock.run_for(1000)
        page.wait_for_timeout(15)
    assert 5 <= len(found) <= 16
    assert any(request.headers.get("if-none-match") for request in found)


def test_lost_connection_shows_a_banner_until_it_is_back(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse(root)
    mark(page)
    banner = page.get_by_text("Connection lost, retrying")
    expect(banner).to_be_hidden()
    page.context.set_offline(True)
    expect(banner).to_be_visible()
    end(root, "Render The Moon")
    page.context.set_offline(False)
    expect(banner).to_be_hidden()
    expect(row(page, part(root, "Render The Moon"))).to_contain_text("Succeeded")
    assert_not_reloaded(page)


def test_open_page_says_that_it_was_deleted_or_logged_out(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse(root)
    other = browse(root)
    other.context.clear_cookies()
    expect(other.get_by_text("You are no longer logged in").first).to_be_visible()
    root.delete()
    expect(page.get_by_text("This was deleted while you were looking at it.").first).to_be_visible()
    expect(page.locator(".uw-head")).to_contain_text("27 of 53 steps")
    found = polls(page)
    page.wait_for_timeout(1500)
    assert found == []


def test_spawned_task_appears_below_its_parent(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse(root)
    parent = part(root, "Deep sky")
    expect(row(page, parent)).to_have_attribute("aria-expanded", "true")
    row(page, part(root, "Pack Deep sky")).focus()
    new = UserTaskStatus.objects.create(
        user=learner, parent=parent, name="A new one", task_id="new", task_class="t", total_steps=2
    )
    begin(root, "A new one")
    expect(row(page, new)).to_contain_text("In Progress")
    expect(row(page, part(root, "Pack Deep sky"))).to_be_focused()
    expect(page.locator(".uw-head")).to_contain_text("27 of 55 steps")


def test_duration_of_a_running_task_advances(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse(root)
    cell = row(page, part(root, "Render The Moon")).locator("[data-uw-elapsed]")
    first = cell.inner_text()
    expect(cell).not_to_have_text(first)
    assert re.fullmatch(r"\d+ s", cell.inner_text())


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_bars_are_animated_unless_reduced_motion_is_preferred(
    motion: str, learner: Any, browse: Browse
) -> None:
    page = browse(midway(learner), reduced_motion=motion)
    durations = page.locator(".uw-seg").first.evaluate(
        "e => getComputedStyle(e).transitionDuration"
    )
    assert ("0.5s" in durations) is (motion == "no-preference")


def test_update_escapes_texts(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse(root)
    html = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>"
    UserTaskStatus.objects.filter(pk=part(root, "Render The Moon").pk).update(name=html)
    task = UserTaskStatus.objects.get(name=html)
    task.set_state(html)
    task.add_artifact(html, text=html)
    task.fail(html)
    for place in (row(page, task), page.locator(".uw-failures"), page.locator(".uw-artifacts")):
        expect(place).to_contain_text("<img src=x")
    page.wait_for_timeout(300)
    assert page.locator("img").count() == 0 and "hacked" not in page.title()
