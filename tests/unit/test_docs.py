"""The documentation agrees with the code: links, samples, names, versions; and its style."""

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
TABLE_HEADER = re.compile(r"^(\|.+\|)\n\|(?:\s*:?-+:?\s*\|)+$", re.M)

# Words that earlier documentation used in a private sense. The glossary has those to use instead.
DIALECT = re.compile(
    r"sign of life|put down to|dated anew|in words|\bcomes to\b|\bwhoever\b|\bwho (?:is|has|sees)\b"
    r"|\btold\b|\bannounc|\bclimb|\bgraft|\bheirs?\b|\btally|\bshel(?:f|ves)\b|\bsilen(?:t|ce)\b"
    r"|\brooms?\b",
    re.I,
)

# Packages of the reader's own project, which samples may import.
READER_PACKAGES = ("library",)


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path) -> list[str]:
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    return [code for language, code in found if language == "python"]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, in the form that GitHub gives them."""
    headings = (heading.lower() for heading in HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def table(page: str, heading: str) -> list[str]:
    """Return the first cell of each row of the first table below a heading."""
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
each_guide = pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "ARCHITECTURE.md"], ids=title
)


@each_page
def test_relative_links_have_targets(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{title(page)}: no file for {link}"
        if anchor:
            assert anchor in anchors(target), f"{title(page)}: no heading for {link}"


@each_page
def test_source_files_named_on_pages_exist(page: Path) -> None:
    for path in re.findall(r"\buser_workflows/[\w/]+\.py\b", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), f"{title(page)}: no file {path}"


def test_index_links_every_page() -> None:
    index = DOCS / "index.md"
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in LINK.findall(prose(index))}
    missing = set(DOCS.rglob("*.md")) - linked - {index}
    assert not missing, sorted(map(title, missing))


@each_guide
def test_table_headers_have_no_empty_cells(page: Path) -> None:
    for header in TABLE_HEADER.findall(prose(page)):
        cells = header[1:-1].replace("\\|", "").split("|")
        assert all(cell.strip() for cell in cells), f"{title(page)}: {header}"


@each_guide
def test_page_avoids_the_old_dialect(page: Path) -> None:
    found = DIALECT.findall(re.sub(r"`[^`]*`", "", prose(page)))
    assert not found, f"{title(page)}: {found}"


@each_page
def test_python_samples_compile(page: Path) -> None:
    for code in blocks(page):
        compile(code, title(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@each_page
def test_names_imported_in_samples_exist(page: Path) -> None:
    for code in blocks(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                if node.module.partition(".")[0] in READER_PACKAGES:
                    continue
                for alias in node.names:
                    assert can_import(node.module, alias.name), f"{node.module}.{alias.name}"


def can_import(module: str, name: str) -> bool:
    if hasattr(importlib.import_module(module), name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None


@each_page
def test_status_attributes_in_samples_exist(page: Path) -> None:
    fields = {field.name for field in UserTaskStatus._meta.get_fields()}
    for code in blocks(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and is_status(node.value):
                assert node.attr in fields or hasattr(UserTaskStatus, node.attr), node.attr


def is_status(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name == "status"


@each_page
def test_commands_in_samples_exist(page: Path) -> None:
    mentioned = re.findall(r"python manage\.py (\w+)", page.read_text(encoding="utf-8"))
    missing = set(mentioned) - set(get_commands())
    assert not missing, f"{title(page)} names commands that do not exist: {missing}"


def test_index_names_the_current_version() -> None:
    documented = re.search(
        r"^Version (\S+)\. ", (DOCS / "index.md").read_text(encoding="utf-8"), re.M
    )
    assert documented and documented[1] == user_workflows.__version__


def test_index_names_the_supported_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    documented = re.search(
        r"Python ([\d.]+)-([\d.]+), Django ([\d.]+) LTS and (\d)\.x, Celery ([\d.]+)",
        (DOCS / "index.md").read_text(encoding="utf-8"),
    )
    assert documented
    first, last, django, next_django, celery = documented.groups()
    pythons = [c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c]
    djangos = [c.rpartition(" ")[2] for c in project["classifiers"] if "Django :: " in c]
    assert (pythons[0], pythons[-1], djangos[0]) == (first, last, django)
    assert all(version.startswith(next_django) for version in djangos[1:])
    assert project["requires-python"] == f">={first}"
    assert {f"celery>={celery}", f"Django>={django}"} <= set(project["dependencies"])


def test_settings_page_lists_every_setting() -> None:
    documented = {codes(row)[0] for row in table("reference/settings.md", "# Settings")}
    names = {name for name, value in vars(Settings).items() if isinstance(value, property)}
    assert documented == {f"USER_WORKFLOWS_{name}" for name in names}


def test_settings_named_on_pages_exist() -> None:
    for page in DOCS.rglob("*.md"):
        for name in re.findall(r"\bUSER_WORKFLOWS_([A-Z]\w*)", page.read_text(encoding="utf-8")):
            assert hasattr(Settings, name), f"{title(page)}: USER_WORKFLOWS_{name}"


def test_states_page_lists_every_phase() -> None:
    text = (DOCS / "reference/states.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([A-Z]+)` \| ([A-Z][\w ]+?) \|", text, re.M)
    assert documented == [(phase.name, phase.state) for phase in Phase]


@pytest.mark.parametrize(
    ("model", "heading"),
    [
        (UserTaskStatus, "## `UserTaskStatus`"),
        (UserTaskArtifact, "## `UserTaskArtifact`"),
    ],
)
def test_models_page_lists_every_field(model: type, heading: str) -> None:
    documented = {name for row in table("reference/models.md", heading) for name in codes(row)}
    assert documented == {field.name for field in model._meta.concrete_fields} - {"id"}  # type: ignore[attr-defined]
