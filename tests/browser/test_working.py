"""Pages in use: keyboard, no JavaScript, small windows, canceling, deep links, accessibility."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.test_live import assert_not_reloaded, mark, row
from tests.pages import scenes
from tests.pages.scenes import begin, end, export, many, midway, part
from user_workflows.models import UserTaskStatus
from user_workflows.phases import Phase

Browse = Callable[..., Page]


def focused(page: Page) -> str:
    name: str = page.evaluate(
        "document.activeElement.querySelector?.('.uw-name-text')?.textContent"
        " ?? document.activeElement.textContent"
    )
    return name.strip()


def press(page: Page, keys: str) -> str:
    for key in keys.split():
        page.keyboard.press(key)
    return focused(page)


def test_tree_is_navigated_by_keyboard(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse(root)
    page.locator(".uw-search button").focus()
    assert press(page, "Tab") == root.name  # The tree is one stop.
    assert page.evaluate("document.querySelectorAll('[data-uw-grid] [tabindex=\"0\"]').length") == 1
    assert press(page, "ArrowDown") == "Read the course"
    assert press(page, "End") == "Notify"
    assert press(page, "Home") == root.name
    assert press(page, "ArrowDown ArrowDown ArrowDown ArrowDown") == "Getting started"
    branch = row(page, part(root, "Getting started"))
    assert press(page, "ArrowLeft") == "Getting started"
    expect(branch).to_have_attribute("aria-expanded", "false")
    assert press(page, "ArrowDown") == "Eyes in the dark"
    assert press(page, "ArrowUp ArrowRight") == "Getting started"
    expect(branch).to_have_attribute("aria-expanded", "true")
    assert press(page, "Enter Enter ArrowDown") == "Render Getting started"
    assert press(page, "ArrowLeft") == "Getting started"  # To the node above.
    press(page, "ArrowLeft ArrowLeft")
    assert focused(page) == "Chapters"
    assert press(page, "ArrowRight").startswith("Cancel")  # Into the row, and back.
    assert press(page, "ArrowLeft") == "Chapters"
    page.keyboard.press("Tab")
    assert not page.evaluate("!!document.activeElement.closest('[data-uw-grid]')")
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "Chapters"
    press(page, "ArrowRight Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    press(page, "Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert_visible_focus(page)


def assert_visible_focus(page: Page) -> None:
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert "solid" in style


def test_branches_and_further_rows_are_fetched_on_demand(learner: Any, browse: Browse) -> None:
    root = many(120, learner, size=2)
    page = browse(root)
    mark(page)
    group = row(page, part(root, "Mail all students"))
    expect(group).to_contain_text("240 pending")
    group.locator("[data-uw-toggle]").click()
    expect(row(page, part(root, "Batch 49"))).to_be_visible()
    more = page.get_by_text("Showing 1–50 of 120; the rest: 140 pending")
    expect(more).to_be_visible()
    page.get_by_role("link", name="Show more").click()
    expect(row(page, part(root, "Batch 99"))).to_be_visible()
    expect(row(page, part(root, "Batch 0"))).to_be_visible()
    page.get_by_role("link", name="Show more").focus()
    page.keyboard.press("Enter")
    expect(row(page, part(root, "Batch 119"))).to_be_visible()
    assert focused(page) == "Batch 100"
    begin(root, "Part 119.0")
    row(page, part(root, "Batch 119")).scroll_into_view_if_needed()
    expect(row(page, part(root, "Batch 119"))).to_contain_text("In Progress")
    assert_not_reloaded(page)


def test_link_to_a_failed_task_opens_its_branch(learner: Any, browse: Browse) -> None:
    root = many(120, learner, size=2)
    for number in range(60, 64):
        begin(root, f"Part {number}.0")
    end(root, "Part 63.0", phase=Phase.FAILED, message="no ink")
    page = browse(root)
    failed = part(root, "Part 63.0")
    page.locator(".uw-failures").get_by_role("link").first.click()
    expect(row(page, failed)).to_be_focused()
    expect(row(page, failed)).to_be_in_viewport()
    expect(row(page, failed)).to_contain_text("Failed")
    deep = browse(failed)  # The URL of a node is that of its root with a fragment.
    expect(row(deep, failed)).to_be_focused()
    nowhere = browse(f"{root.get_absolute_url()}#node-{root.uuid.hex}")
    expect(nowhere.locator(".uw-head")).to_be_visible()


def test_box_of_the_graph_links_to_its_row(learner: Any, browse: Browse) -> None:
    root = scenes.failed(learner)
    page = browse(root)
    page.get_by_role("link", name="Graph").click()
    task = part(root, "Render Planets")
    page.locator(f'.uw-graph-svg a[href$="#node-{task.uuid}"]').click()
    expect(row(page, task)).to_be_focused()


def test_dialog_states_the_effects_and_cancels(learner: Any, browse: Browse) -> None:
    root = midway(learner)
    page = browse(root)
    mark(page)
    page.locator(".uw-head").get_by_role("link", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("9 pending tasks will not start.")
    expect(dialog).to_contain_text("2 running will be asked to stop.")
    expect(dialog).to_contain_text("7 finished stay, and their artifacts are kept.")
    dialog.get_by_role("link", name="Keep it running").click()
    expect(dialog).to_be_hidden()
    assert not UserTaskStatus.objects.filter(phase=Phase.CANCELED).exists()
    page.locator(".uw-head").get_by_role("link", name="Cancel").click()
    dialog.get_by_role("button", name="Cancel it").click()
    expect(page.locator(".uw-head")).to_contain_text("Canceling (2 still running)")
    expect(dialog).to_be_hidden()
    expect(page.locator(".uw-head").get_by_role("link", name="Cancel")).to_be_hidden()
    end(root, "Render The Moon", "Render Planets", phase=Phase.CANCELED)
    expect(page.locator(".uw-head .uw-pill")).to_have_text("Canceled")
    assert_not_reloaded(page)


def test_pages_without_javascript_work(learner: Any, browse: Browse) -> None:
    root = many(60, learner, size=2)
    begin(root, "Part 1.0")
    page = browse(root, java_script_enabled=False)
    expect(row(page, part(root, "Batch 3"))).to_contain_text("2 pending")
    row(page, part(root, "Batch 3")).locator("a.uw-toggle").click()
    expect(row(page, part(root, "Part 3.1"))).to_be_visible()
    page.get_by_role("link", name="Show more").click()
    expect(row(page, part(root, "Batch 59"))).to_be_visible()
    page.get_by_role("searchbox").fill("part 1.")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("2 steps found.")).to_be_visible()
    begin(root, "Part 2.0")
    page.goto(page.url.split("?")[0])
    expect(page.locator(".uw-legend")).to_contain_text("2 running")
    page.locator(".uw-head").get_by_role("link", name="Cancel").click()
    expect(page.get_by_text("2 running will be asked to stop.")).to_be_visible()
    page.get_by_role("button", name="Cancel it").click()
    expect(page.locator(".uw-head")).to_contain_text("Canceling (2 still running)")
    expect(page.locator(".uw-message")).to_contain_text("120 tasks will not start.")


@pytest.mark.parametrize("scene", [scenes.failed, scenes.midway, scenes.canceled])
@pytest.mark.parametrize("width", [320, 640])
def test_pages_in_small_windows_do_not_scroll_sideways(
    width: int, scene: Any, learner: Any, browse: Browse
) -> None:
    """A width of 320 px, and of 1280 px at a zoom of 200 %."""
    root = scene(learner)
    UserTaskStatus.objects.filter(pk=part(root, "Render Planets").pk).update(name="x" * 120)
    part(root, "Read the course").add_artifact("y" * 120, url="https://example.com/" + "z" * 300)
    page = browse(root, viewport={"width": width, "height": 640})
    for path in (root.get_absolute_url(), "/tasks/", f"/tasks/{root.uuid}/cancel/"):
        page.goto(page.url.split("/tasks/")[0] + path)
        over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert over <= 0
    page.goto(page.url.split("/tasks/")[0] + root.get_absolute_url())
    expect(row(page, part(root, "Deep sky"))).to_contain_text("Deep sky")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_have_no_serious_axe_violations(theme: str, learner: Any, browse: Browse) -> None:
    root = scenes.failed(learner)
    scenes.canceled(learner)
    scenes.settled(export(learner))
    stuck = UserTaskStatus.objects.filter(name="Pack The Moon")
    stuck.update(last_seen_at="2020-01-01T00:00Z", attempts=2)
    page = browse(root, color_scheme=theme, reduced_motion="reduce")
    base = page.url.split("/tasks/")[0]
    for path in ("", f"{root.uuid}/", f"{root.uuid}/cancel/", f"{root.uuid}/graph/",
                 f"{root.uuid}/delete/", "?q=nothing"):  # fmt: skip
        page.goto(f"{base}/tasks/{path}")
        assert_accessible(page)
    page.goto(base + root.get_absolute_url())
    page.locator(".uw-head").get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert_accessible(page)


def assert_accessible(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    serious = [
        (each["id"], [node["html"][:150] for node in each["nodes"]][:3])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == [], page.url


def test_theme_of_the_site_overrides_the_browsers(learner: Any, browse: Browse) -> None:
    page = browse(midway(learner), color_scheme="light")
    surface = "getComputedStyle(document.querySelector('.uw-card')).backgroundColor"
    assert page.evaluate(surface) == "rgb(255, 255, 255)"
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert page.evaluate(surface) == "rgb(23, 29, 38)"
    dark = browse(midway(learner), color_scheme="dark")
    assert dark.evaluate(surface) == "rgb(23, 29, 38)"


def test_accessibility_tree_has_names_values_and_levels(learner: Any, browse: Browse) -> None:
    root = scenes.failed(learner)
    page = browse(root)
    chapter = row(page, part(root, "Planets"))
    session = page.context.new_cdp_session(page)
    tree = session.send("Accessibility.getFullAXTree")["nodes"]

    def properties(role: str, name: str) -> dict[str, Any]:
        for node in tree:
            texts = (node.get("role", {}).get("value"), node.get("name", {}).get("value", ""))
            if texts[0] == role and texts[1].startswith(name):
                values = {p["name"]: p["value"].get("value") for p in node["properties"]}
                return {**values, "value": node.get("value", {}).get("value")}
        raise AssertionError(f"no {role} {name}")

    bar = properties("progressbar", root.name)
    assert (bar["valuemin"], bar["valuemax"]) == (0, 53)
    assert bar["value"] == 31
    # Chromium's protocol leaves out aria-valuetext.
    spoken = page.get_by_role("progressbar", name=root.name).first
    expect(spoken).to_have_attribute("aria-valuetext", "31 of 53 steps, 2 failed")
    line = properties("row", "Planets: Failed, 2 of 9 steps, 1 failed")
    assert line["level"] == 4 and line["expanded"] is True
    assert chapter.get_attribute("aria-posinset") == "4"
    assert chapter.get_attribute("aria-setsize") == "5"
    assert page.get_by_role("treegrid", name="Steps").count() == 1
