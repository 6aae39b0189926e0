"""Courses for tests: a small one, the one that ships, and a real one if there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "example_project" / "sample_course"

SMALL = {
    "course.xml": '<course url_name="2025" org="X" course="CS101"/>',
    "course/2025.xml": """<course display_name="Small course">
  <chapter url_name="week1"/>
  <chapter url_name="week2"/>
  <wiki slug="X.CS101"/>
</course>""",
    "chapter/week1.xml": '<chapter display_name="Week 1"><sequential url_name="s1"/></chapter>',
    "chapter/week2.xml": '<chapter display_name="Week 2"><sequential url_name="s2"/></chapter>',
    "sequential/s1.xml": '<sequential display_name="Stars"><vertical url_name="v1"/></sequential>',
    "sequential/s2.xml": '<sequential display_name="Moons"><vertical url_name="v2"/></sequential>',
    "vertical/v1.xml": """<vertical display_name="Intro">
  <html url_name="h1"/>
  <problem url_name="p1"/>
</vertical>""",
    "vertical/v2.xml": """<vertical display_name="Outro">
  <library_content url_name="bank"/>
  <poll url_name="inline" xblock-family="xblock.v1"><answer name="yes"/></poll>
</vertical>""",
    "html/h1.xml": '<html display_name="Hello" filename="h1"/>',
    "html/h1.html": "<p>Hello</p>",
    "problem/p1.xml": '<problem display_name="Sum"><p url_name="content">1 + 1?</p></problem>',
    "problem/p2.xml": '<problem display_name="Product"/>',
    "library_content/bank.xml": '<library_content><problem url_name="p2"/></library_content>',
    "policies/2025/policy.json": "{}",
    "static/note.txt": "note",
}


def write(root: Path, files: dict[str, str] | None = None, **changed: str | None) -> Path:
    """Write the small course, or `files`, to `root`.

    `chapter__week1="..."` replaces `chapter/week1.xml`; `None` leaves it out.
    """
    contents: dict[str, str | None] = dict(SMALL if files is None else files)
    contents.update({f"{key.replace('__', '/')}.xml": text for key, text in changed.items()})
    for name, text in contents.items():
        if text is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def real_course() -> Path:
    """Return the path of the Open edX Demo Course, or skip: it is not part of this project."""
    default = ROOT.parent / "shared" / "data" / "openedx-demo-course.tar.gz"
    path = Path(os.environ.get("OLX_COURSE") or default)
    if not path.exists():
        pytest.skip(f"no real course: OLX_COURSE is not set and {default} does not exist")
    return path
