"""The language and the size of the code, as far as a program can check them.

What ruff checks of docstrings is configured in pyproject.toml.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

MAX_ANY = 250
MAX_LINES = 399
MAX_TOP_MODULES = 27

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "user_workflows"
EXAMPLE = ROOT / "example_project"

BAD_SUMMARY = re.compile(r"(What|Whether|How|Who|Whom|Whoever|When|Where|The same)\b")
#: Words that this project once used for things that have a name in the field; none of them may
#: come back, in text or as part of a name.
WORDS = (
    "climb", "climbing", "dated anew", "fate", "from when on", "graft", "heir", "originals",
    "pulse", "put down to", "shelf", "shelves", "sign of life", "signs of life", "tally", "tallies",
    "vitals", "whoever", "wish", "wishes",
)  # fmt: skip
WORD = re.compile(rf"\b({'|'.join(WORDS)})s?\b", re.I)
#: Words that are right in a sentence and wrong as the name of a variable.
NAMES = {"fed", "said", "told"}


def sources(*folders: Path, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in suffixes
        and not {"migrations", "sample_course", "var"} & set(path.relative_to(ROOT).parts)
    )


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring, those of attributes included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


def assert_at_most(limit: int, found: list[str]) -> None:
    if len(found) > limit:
        pytest.fail("\n".join([f"{len(found)} found, {limit} tolerated:", *found]), pytrace=False)


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    found = [
        f"{place(path, line)}: {text.splitlines()[0]}"
        for path in sources(PACKAGE, EXAMPLE)
        for line, text in strings(path)
        if BAD_SUMMARY.match(text)
    ]
    assert_at_most(0, found)


def test_code_and_docs_use_the_words_of_the_field() -> None:
    pages = [*sources(ROOT / "docs", suffixes=(".md",)), ROOT / "README.md"]
    found = [
        f"{place(path, number)}: {match[0]}"
        for path in [*sources(PACKAGE, EXAMPLE, suffixes=(".py", ".html", ".md")), *pages]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for match in WORD.finditer(line.replace("_", " "))
    ]
    assert_at_most(0, found)


def test_names_are_nouns_and_verbs_of_the_field() -> None:
    found = [
        f"{place(path, token.start[0])}: {token.string}"
        for path in sources(PACKAGE, EXAMPLE)
        for token in tokenize.generate_tokens(
            io.StringIO(path.read_text(encoding="utf-8")).readline
        )
        if token.type == tokenize.NAME and NAMES & set(token.string.split("_"))
    ]
    assert_at_most(0, found)


def test_docstrings_leave_out_in_words() -> None:
    found = [
        f"{place(path, line)}: {text.splitlines()[0]}"
        for path in sources(PACKAGE, EXAMPLE)
        for line, text in strings(path)
        if re.search(r"\bin\s+words\b", text)
    ]
    assert_at_most(0, found)


def test_files_of_the_package_are_short() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(PACKAGE)
    }
    found = [place(path, lines) for path, lines in lengths.items() if lines > MAX_LINES]
    assert_at_most(0, found)


def test_few_modules_are_at_the_top_of_the_package() -> None:
    assert_at_most(MAX_TOP_MODULES, [path.name for path in sorted(PACKAGE.glob("*.py"))])


def test_any_is_rare_in_the_package() -> None:
    counts = {
        path: len(re.findall(r"\bAny\b", path.read_text(encoding="utf-8")))
        for path in sources(PACKAGE)
    }
    listing = [f"{count:>4} {path.relative_to(ROOT)}" for path, count in counts.items() if count]
    if sum(counts.values()) > MAX_ANY:
        pytest.fail("\n".join([f"{sum(counts.values())} of {MAX_ANY}:", *listing]), pytrace=False)
