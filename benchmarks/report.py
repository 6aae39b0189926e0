"""The output of a run: a table, JSON, and a plot of how costs grow."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .bench import Bench, number, ratio
from .plot import plot

PACKAGES = ("Django", "celery", "django-mptt", "django-user-tasks", "psycopg", "redis")


def circumstances(bench: Bench, services: dict[str, str]) -> dict[str, Any]:
    """Return the date, the scale and all versions of a run."""
    return {
        "date": date.today().isoformat(),
        "scale": bench.scale,
        "rounds": bench.rounds,
        "Python": platform.python_version(),
        **services,
        **{name: version(name) for name in PACKAGES},
    }


def table(bench: Bench) -> str:
    """Return the rows as a table in Markdown."""
    lines = [
        "| work | unit | ours | django-user-tasks | Celery | beside Celery "
        "| beside django-user-tasks | target | met | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    met = {True: "yes", False: "**no**", None: ""}
    for row in bench.rows:
        cells = (
            row.work, row.unit, number(row.ours), number(row.user_tasks), number(row.plain),
            ratio(row, row.plain), ratio(row, row.user_tasks), row.target, met[row.met], row.note,
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(bench: Bench, services: dict[str, str], directory: Path) -> None:
    """Write the results into files."""
    directory.mkdir(parents=True, exist_ok=True)
    found = {
        "circumstances": circumstances(bench, services),
        "rows": [asdict(row) for row in bench.rows],
        "growth": bench.growth,
    }
    (directory / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    (directory / "table.md").write_text(table(bench))
    if bench.growth:
        (directory / "growth.svg").write_text(plot(bench.growth))
