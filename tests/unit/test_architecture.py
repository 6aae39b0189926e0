"""ARCHITECTURE.md says where everything lives; these tests keep it true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "user_workflows"
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """Return the text below a heading, up to the next one of its level."""
    _, _, after = TEXT.partition(f"\n## {heading}\n")
    assert after, f"ARCHITECTURE.md has no section {heading!r}"
    return after.partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def paths(cell: str) -> list[str]:
    return re.findall(r"`([\w/]+(?:\.py|/))`", cell)


def modules() -> set[str]:
    """Return the modules of the package, relative to it."""
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    return {name for name in found if not name.startswith("migrations/")}


@pytest.mark.parametrize("change,room", rows("Find it"))
def test_each_room_of_the_find_it_table_exists(change: str, room: str) -> None:
    assert paths(room), change
    missing = [path for path in paths(room) if not (PACKAGE / path).exists()]
    assert missing == []


def test_the_rooms_are_all_and_only_the_modules_there_are() -> None:
    listed = set()
    for room, contents in rows("Rooms"):
        folder = re.findall(r"`([\w/.]+)`", room)[0].removeprefix(".")
        listed |= {f"{folder}{name}.py" for name in re.findall(r"`(\w+)`", contents)}
    present = {name for name in modules() if not name.endswith("__init__.py")}
    present -= {name for name in present if name.startswith("management/commands/")}
    assert listed == present


@pytest.mark.parametrize("name,where,reason,checked,test", rows("Private APIs"))
def test_each_private_api_is_used_where_the_table_says_and_tested(
    name: str, where: str, reason: str, checked: str, test: str
) -> None:
    assert reason
    assert re.search(r"\d+\.\d+", checked), "no version"
    words = re.findall(r"`([^`]+)`", name)
    for path in paths(where):
        text = (PACKAGE / path).read_text(encoding="utf-8")
        assert all(word in text for word in words), (path, words)
    tests = re.findall(r"`(tests/[\w/]+\.py)`", test)
    assert tests
    assert all((ROOT / path).exists() for path in tests)
