"""Screenshots for the documentation: ``pytest tests/browser/screenshots.py -m browser``.

They are written to ``docs/images``, or to the folder that ``SCREENSHOTS`` names.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page

from tests.pages import scenes

FOLDER = Path(
    os.environ.get("SCREENSHOTS") or Path(__file__).resolve().parents[2] / "docs" / "images"
)
SCENES = {
    "midway": (scenes.midway, {}),
    "failed": (scenes.failed, {}),
    "canceled": (scenes.canceled, {}),
    "10000-tasks": (scenes.large, {"viewport": {"width": 1280, "height": 1100}}),
    "mobile": (
        scenes.failed,
        {"viewport": {"width": 360, "height": 1500}, "device_scale_factor": 1.5},
    ),
    "graph": (scenes.failed, {}),
    "dark": (scenes.failed, {"color_scheme": "dark"}),
}
PAGES = {"graph": "graph"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SCENES)
def test_picture(name: str, learner: Any, browse: Callable[..., Page]) -> None:
    scene, options = SCENES[name]
    root = scene(learner)
    page = browse(
        reverse(f"user_workflows:{PAGES.get(name, 'detail')}", args=[root.uuid]), **options
    )
    page.wait_for_timeout(700)
    FOLDER.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=FOLDER / f"{name}.png", full_page=name not in ("10000-tasks", "mobile"))


def test_picture_of_the_list(learner: Any, browse: Callable[..., Page]) -> None:
    scenes.failed(learner)
    scenes.canceled(learner)
    scenes.settled(scenes.many(4, learner))
    scenes.export(learner)
    scenes.midway(learner)
    page = browse("/tasks/")
    page.wait_for_timeout(700)
    page.screenshot(path=FOLDER / "list.png", full_page=True)


def test_picture_of_the_cancel_dialog(learner: Any, browse: Callable[..., Page]) -> None:
    page = browse(scenes.midway(learner))
    page.get_by_role("link", name="Cancel", exact=True).first.click()
    page.get_by_role("dialog").wait_for()
    page.screenshot(path=FOLDER / "cancel.png")
