"""Fixtures of the browser tests: a real Chromium and a live server.

Playwright drives the installed Chromium (Debian: ``apt install chromium``), or the one that
``TEST_CHROMIUM`` names.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.helpers import a_user
from user_workflows.models import UserTaskStatus

# Playwright's synchronous API keeps an event loop in this thread, which makes Django take
# the tests for asynchronous code.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("TEST_CHROMIUM", "/usr/bin/chromium"), args=ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture
def learner(transactional_db: None) -> Any:
    return a_user()


@pytest.fixture
def visit(
    chromium: Browser, live_server: Any, learner: Any
) -> Iterator[Callable[..., BrowserContext]]:
    """Make browser contexts with the learner logged in; fail on script and policy errors."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def new_context(**options: Any) -> BrowserContext:
        client = Client()
        client.force_login(learner)
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        name = django_settings.SESSION_COOKIE_NAME
        cookie = {"name": name, "value": client.cookies[name].value, "url": live_server.url}
        context.add_cookies([cookie])  # type: ignore[list-item]
        context.set_default_timeout(15_000)
        context.on("weberror", lambda error: errors.append(str(error.error)))
        context.on(
            "console",
            lambda m: errors.append(m.text) if "Content Security Policy" in m.text else None,
        )
        contexts.append(context)
        return context

    yield new_context
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def browse(visit: Callable[..., BrowserContext], live_server: Any) -> Callable[..., Page]:
    """Open a path, or the page of a workflow."""

    def open_page(target: UserTaskStatus | str, **options: Any) -> Page:
        page = visit(**options).new_page()
        path = target if isinstance(target, str) else target.get_absolute_url()
        response = page.goto(live_server.url + path)
        assert response and response.ok, response
        assert "default-src 'none'" in response.headers["content-security-policy"]
        return page

    return open_page
