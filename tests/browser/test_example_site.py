"""The example site in a browser: served by `manage.py demo`, with a worker of its own.

The site uses the services in ``DATABASE_URL``, ``BROKER_URL`` and ``RESULT_BACKEND``, if set.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from courses.olx import read_course, unpack
from tests.browser.test_working import assert_accessible
from tests.example.samples import ROOT, SAMPLE, write
from tests.example.terminal import Terminal

SITE = ROOT / "example_project"
TIMEOUT = 30_000
"""Milliseconds that a workflow may take."""
ADD_USERS = """
import sys, django
django.setup()
from django.contrib.auth.models import User
for name in sys.argv[1:]:
    User.objects.filter(username=name).delete()
    User.objects.create_user(name, password=f"{name}-password")
"""
#: One user for each test that starts a workflow, so that no test finds another's running.
USERS = ["ada", "ben", "chen", "dina", "emeka", "fatima", "grace", "hugo", "ines"]


@pytest.fixture(scope="module")
def academy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the demo on a terminal, where it goes on serving the site; yield the site's URL."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "example.settings",
        "EXAMPLE_VAR": str(tmp_path_factory.mktemp("academy")),
        "EXAMPLE_PACE": "0.15",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(SITE)]),
    }
    terminal = Terminal()
    process = subprocess.Popen(
        [sys.executable, "-u", "manage.py", "demo"],
        cwd=SITE,
        env=environment,
        stdout=terminal.process_end,
        stderr=subprocess.STDOUT,
    )
    try:
        terminal.wait_for("until Ctrl-C.")
        subprocess.run(
            [sys.executable, "-c", ADD_USERS, *USERS], cwd=SITE, env=environment, check=True
        )
        found = re.search(r"The site is served at (http://\S+)/ until", terminal.text)
        assert found
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, terminal.text


@dataclass
class Visitor:
    """A user with a browser."""

    page: Page
    site: str

    def log_in(self, name: str) -> None:
        self.page.goto(self.site)
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(f"{name}-password")
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text("Studio")

    def form(self, kind: str) -> Any:
        return self.page.locator(f"form#{kind}")

    def start(self, kind: str, **fields: str) -> str:
        """Fill in and send a form; return the URL of the workflow's page."""
        form = self.form(kind)
        for label, value in fields.items():
            form.get_by_label(label).select_option(value)
        form.locator("[type=submit]").click()
        self.page.wait_for_url("**/workflows/*-*-*-*-*/")
        return self.page.url

    def upload(self, path: Path) -> str:
        self.page.get_by_label("Course archive").set_input_files(path)
        return self.start("import")

    @property
    def state(self) -> Any:
        return self.page.locator(".uw-head .uw-pill")

    def row(self, name: str) -> Any:
        return self.page.get_by_role("row").filter(
            has=self.page.locator(".uw-name-text", has_text=re.compile(f"^{re.escape(name)}$"))
        )

    def fits(self) -> bool:
        """Return whether nothing is wider than the window."""
        root = "document.documentElement"
        return bool(self.page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"))


@pytest.fixture
def visitor(chromium: Browser, academy: str) -> Iterator[Callable[..., Visitor]]:
    """Make visitors, logged in if named; fail on script and console errors."""
    contexts = []
    errors: list[str] = []

    def new_visitor(name: str = "", **options: Any) -> Visitor:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(TIMEOUT)
        context.on("weberror", lambda error: errors.append(str(error.error)))
        context.on(
            "console",
            lambda message: errors.append(message.text) if message.type == "error" else None,
        )
        visitor = Visitor(context.new_page(), academy)
        if name:
            visitor.log_in(name)
        return visitor

    expect.set_options(timeout=TIMEOUT)
    yield new_visitor
    for context in contexts:
        context.close()
    assert errors == []


def archive(folder: Path) -> Path:
    path = folder.with_name(f"{folder.name}.tar.gz")
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, "course")
    return path


def test_export_updates_without_reload_and_offers_its_archive(visitor, academy, tmp_path):
    visitor = visitor()
    page = visitor.page
    page.goto(academy)
    page.get_by_role("button", name="Continue as demo").click()
    visitor.start("export", Course="Watching the Night Sky")
    page.evaluate("window.wasNotReloaded = true")

    # The progress bar takes values between the first and the last, and the state changes.
    bar = page.get_by_role("progressbar").first
    seen = set()
    while "Succeeded" not in visitor.state.inner_text():
        seen.add(int(bar.get_attribute("aria-valuenow") or 0))
        page.wait_for_timeout(100)
    expect(bar).to_have_attribute("aria-valuenow", "47")
    assert seen - {0, 47}
    expect(visitor.row("Far away")).to_contain_text("Succeeded")
    expect(visitor.row("Notify")).to_contain_text("Succeeded")
    expect(page.locator(".uw-chip:visible")).to_have_text(["All17", "Succeeded17"])

    # All artifacts as one download, and the course archive alone.
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all", exact=True).click()
    with zipfile.ZipFile(download.value.path()) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert archive.testzip() is None
    assert [row["name"] for row in manifest].count("Chapter") == 4
    with page.expect_download() as download:
        page.get_by_role("link", name="Course archive").click()
    assert download.value.suggested_filename.startswith("UserWorkflows-NIGHT101-2025")
    unpack(download.value.path(), tmp_path / "again")
    assert read_course(tmp_path / "again") == read_course(SAMPLE)
    assert page.evaluate("window.wasNotReloaded")


def test_import_of_a_broken_course_shows_the_place_of_its_fault(visitor, tmp_path):
    visitor = visitor("ada")
    page = visitor.page
    visitor.upload(archive(write(tmp_path / "broken", html__h1=None)))
    expect(visitor.state).to_have_text("Failed")
    failures = page.locator(".uw-failures")
    place = "Chapter 'Week 1', lesson 'Stars', unit 'Intro' (vertical/v1.xml)"
    expect(failures).to_contain_text(f"{place}: html/h1.xml is missing")
    failures.get_by_role("link", name="Week 1").click()
    expect(visitor.row("Week 1")).to_contain_text("Failed")
    expect(visitor.row("Week 1")).to_be_in_viewport()
    expect(visitor.row("Week 2")).to_contain_text("Succeeded")
    expect(visitor.row("Record course")).to_contain_text("Skipped")

    # It was not imported. When it is corrected, it is imported and can be exported.
    page.get_by_role("link", name="Studio").click()
    choices = visitor.form("export").get_by_label("Course")
    expect(choices.locator("option")).to_have_text(["Watching the Night Sky"])
    visitor.upload(archive(write(tmp_path / "mended")))
    expect(visitor.state).to_have_text("Succeeded")
    page.get_by_role("link", name="Studio").click()
    visitor.start("export", Course="Small course")
    expect(visitor.state).to_have_text("Succeeded")


def test_upload_that_is_no_archive_shows_an_error_at_the_field(visitor, tmp_path):
    visitor = visitor("ada")
    path = tmp_path / "notes.tar.gz"
    path.write_text("no archive")
    field = visitor.page.get_by_label("Course archive")
    field.set_input_files(path)
    visitor.page.get_by_role("button", name="Check and import").click()
    expect(visitor.page).to_have_title(re.compile("^Please check"))
    expect(field).to_be_focused()
    expect(field).to_have_accessible_description(
        re.compile("'notes.tar.gz' is not a .tar.gz archive")
    )


def test_canceled_mailing_shows_its_pending_tasks_as_canceled(visitor):
    visitor = visitor("ben")
    page = visitor.page
    visitor.start("mail")
    expect(visitor.state).to_have_text("In Progress")
    page.locator(".uw-head").get_by_role("link", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile(r"\d+ pending tasks will not start"))
    dialog.get_by_role("button", name="Cancel it").click()
    expect(visitor.state).to_have_text("Canceled")
    expect(visitor.row("Report")).to_contain_text("Canceled")
    page.get_by_role("link", name="Studio").click()
    expect(page.get_by_role("region", name="Recent work")).to_contain_text("Canceled")


def test_double_click_starts_one_export(visitor):
    visitor = visitor("chen")
    page = visitor.page
    visitor.form("export").get_by_role("button").dblclick()
    page.wait_for_url("**/workflows/*-*-*-*-*/")
    first = page.url
    page.get_by_role("link", name="Studio").click()
    visitor.form("export").get_by_role("button").click()
    page.wait_for_url(first)
    expect(page.get_by_text("is already running. This is its page.").first).to_be_visible()
    page.get_by_role("link", name="My tasks", exact=True).first.click()
    expect(page.get_by_role("link", name="Export Watching the Night Sky")).to_have_count(1)


def test_site_without_javascript_works(visitor):
    visitor = visitor("dina", java_script_enabled=False)
    page = visitor.page
    visitor.start("transcode", Video="One night, dusk to dawn")
    expect(visitor.state).to_be_visible()
    while int(page.get_by_role("progressbar").first.get_attribute("aria-valuenow") or 0) == 0:
        page.wait_for_timeout(200)
        page.reload()
    page.locator(".uw-head").get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("heading", name="Cancel “Transcode One night")).to_be_visible()
    page.get_by_role("button", name="Cancel it").click()
    while visitor.state.inner_text() != "Canceled":
        page.wait_for_timeout(200)
        page.reload()

    page.get_by_role("link", name="Studio").click()
    visitor.start("transcode", Video="A tour of the Moon")
    while visitor.state.inner_text() != "Succeeded":
        page.wait_for_timeout(200)
        page.reload()
    with page.expect_download() as download:
        page.get_by_role("link", name="Video").click()
    assert download.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_site_on_a_small_screen_does_not_scroll_sideways(visitor, academy):
    visitor = visitor(viewport={"width": 320, "height": 640}, color_scheme="dark")
    page = visitor.page
    page.goto(academy)
    assert visitor.fits()
    visitor.log_in("emeka")
    assert visitor.fits()
    visitor.start("export")
    expect(visitor.state).to_have_text("Succeeded")
    assert visitor.fits()
    page.get_by_role("link", name="My tasks", exact=True).first.click()
    expect(page.get_by_role("heading", name="My tasks")).to_be_visible()
    assert visitor.fits()
    shade = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in re.findall(r"\d+", shade)[:3]) < 64


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_site_has_no_serious_axe_violations(visitor, academy, tmp_path, theme):
    visitor = visitor(color_scheme=theme, reduced_motion="reduce")
    page = visitor.page
    page.goto(academy)
    page.get_by_label("Username").fill("nobody")
    page.get_by_label("Password").fill("nothing")
    assert_accessible(page)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator(".errorlist")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Continue as demo").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Studio")
    assert_accessible(page)
    path = tmp_path / "notes.tar.gz"
    path.write_text("no archive")
    page.get_by_label("Course archive").set_input_files(path)
    page.get_by_role("button", name="Check and import").click()
    expect(page).to_have_title(re.compile("^Please check"))
    assert_accessible(page)
    page.get_by_role("link", name="My tasks", exact=True).click()
    page.get_by_role("link", name="Export Watching the Night Sky").last.click()
    expect(visitor.state).to_have_text("Succeeded")
    assert_accessible(page)


def test_home_page_updates_while_a_workflow_runs(visitor):
    visitor = visitor("fatima")
    page = visitor.page
    visitor.start("transcode", Video="A tour of the Moon")
    page.get_by_role("link", name="Studio").click()
    recent = page.get_by_role("region", name="Recent work")
    expect(recent).not_to_contain_text("Succeeded", timeout=1000)
    page.evaluate("window.wasNotReloaded = true")
    expect(recent).to_contain_text("Succeeded")
    expect(recent).to_contain_text("240 of 240 steps")
    assert page.evaluate("window.wasNotReloaded")


def test_workflow_and_files_of_another_user_are_not_found(visitor):
    grace, hugo = visitor("grace"), visitor("hugo")
    address = grace.start("transcode", Video="A tour of the Moon")
    expect(grace.state).to_have_text("Succeeded")
    file = grace.page.get_by_role("link", name="Video").get_attribute("href")
    assert grace.page.request.get(f"{grace.site}{file}").status == 200
    for path in (address.removeprefix(grace.site), file):
        assert hugo.page.request.get(f"{hugo.site}{path}").status == 404
    hugo.page.get_by_role("link", name="My tasks", exact=True).click()
    expect(hugo.page.get_by_text("You have not started anything yet")).to_be_visible()


def test_export_is_started_by_keyboard(visitor, academy):
    visitor = visitor()
    page = visitor.page
    page.goto(academy)
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("ines")
    page.keyboard.press("Tab")
    page.keyboard.type("ines-password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Studio")

    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(visitor.form("export").get_by_label("Course")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/workflows/*-*-*-*-*/")
    expect(visitor.state).to_have_text("Succeeded")
