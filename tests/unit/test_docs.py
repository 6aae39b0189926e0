"""The documentation says nothing that is not so: links, code, names, versions."""

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from django.core.management import get_commands

import user_workflows
from user_workflows.conf import Settings
from user_workflows.models import UserTaskArtifact, UserTaskStatus
from user_workflows.phases import Phase

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "ARCHITECTURE.md"])

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.M)

# Modules of the reader's own project.
READERS_OWN = ("library",)


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path) -> list[str]:
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    return [code for language, code in found if language == "python"]


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = (heading.lower() for heading in HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def table(page: str, heading: str) -> list[str]:
    """The first cells of the first table below a heading, code marks removed."""
    text = ("\n" + (DOCS / page).read_text(encoding="utf-8")).split(f"\n{heading}\n", 1)[1]
    rows: list[str] = []
    for line in text.splitlines():
        if line.startswith("|"):
            rows.append(line.split("|")[1].strip())
        elif rows:
            break
    return rows[2:]


def codes(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


each_page = pytest.mark.parametrize("page", PAGES, ids=title)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{title(page)}: no file for {link}"
        if anchor:
            assert anchor in anchors(target), f"{title(page)}: no heading for {link}"


def test_each_page_can_be_reached_from_the_index() -> None:
    found, waiting = {DOCS / "index.md"}, [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        for link in LINK.findall(prose(page)):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.exists() and target not in found:
                found.add(target)
                waiting.append(target)
    assert set(DOCS.rglob("*.md")) <= found


@each_page
def test_python_compiles(page: Path) -> None:
    for code in blocks(page):
        compile(code, title(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@each_page
def test_imported_names_exist(page: Path) -> None:
    for code in blocks(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                if node.module.partition(".")[0] in READERS_OWN:
                    continue
                for alias in node.names:
                    assert can_import(node.module, alias.name), f"{node.module}.{alias.name}"


def can_import(module: str, name: str) -> bool:
    if hasattr(importlib.import_module(module), name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None


@each_page
def test_what_is_called_on_a_status_exists(page: Path) -> None:
    fields = {field.name for field in UserTaskStatus._meta.get_fields()}
    for code in blocks(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and is_status(node.value):
                assert node.attr in fields or hasattr(UserTaskStatus, node.attr), node.attr


def is_status(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name == "status"


@each_page
def test_commands_exist(page: Path) -> None:
    mentioned = re.findall(r"python manage\.py (\w+)", page.read_text(encoding="utf-8"))
    missing = set(mentioned) - set(get_commands())
    assert not missing, f"{title(page)} names commands that do not exist: {missing}"


def test_the_version_is_this_one() -> None:
    said = re.search(r"^Version (\S+)\. ", (DOCS / "index.md").read_text(encoding="utf-8"), re.M)
    assert said and said[1] == user_workflows.__version__


def test_versions_of_python_and_django_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    said = re.search(
        r"Python ([\d.]+)-([\d.]+), Django ([\d.]+) LTS and (\d)\.x, Celery ([\d.]+)",
        (DOCS / "index.md").read_text(encoding="utf-8"),
    )
    assert said
    first, last, django, next_django, celery = said.groups()
    pythons = [c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c]
    djangos = [c.rpartition(" ")[2] for c in project["classifiers"] if "Django :: " in c]
    assert (pythons[0], pythons[-1], djangos[0]) == (first, last, django)
    assert all(version.startswith(next_django) for version in djangos[1:])
    assert project["requires-python"] == f">={first}"
    assert {f"celery>={celery}", f"Django>={django}"} <= set(project["dependencies"])


def test_the_settings_are_those_that_there_are() -> None:
    said = {codes(row)[0] for row in table("reference/settings.md", "# Settings")}
    there = {name for name, value in vars(Settings).items() if isinstance(value, property)}
    assert said == {f"USER_WORKFLOWS_{name}" for name in there}


def test_no_page_names_a_setting_that_is_not_there() -> None:
    for page in DOCS.rglob("*.md"):
        for name in re.findall(r"\bUSER_WORKFLOWS_([A-Z]\w*)", page.read_text(encoding="utf-8")):
            assert hasattr(Settings, name), f"{title(page)}: USER_WORKFLOWS_{name}"


def test_the_phases_are_those_that_there_are() -> None:
    text = (DOCS / "reference/states.md").read_text(encoding="utf-8")
    said = re.findall(r"^\| `([A-Z]+)` \| ([A-Z][\w ]+?) \|", text, re.M)
    assert said == [(phase.name, phase.state) for phase in Phase]


@pytest.mark.parametrize(
    ("model", "heading"),
    [
        (UserTaskStatus, "## `UserTaskStatus`"),
        (UserTaskArtifact, "## `UserTaskArtifact`"),
    ],
)
def test_each_field_is_described(model: type, heading: str) -> None:
    said = {name for row in table("reference/models.md", heading) for name in codes(row)}
    assert said == {field.name for field in model._meta.concrete_fields} - {"id"}  # type: ignore[attr-defined]
