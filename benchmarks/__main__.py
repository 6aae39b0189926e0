"""The command ``python -m benchmarks``: see the package."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from importlib import import_module
from pathlib import Path

import psycopg
import redis

from . import report
from .bench import Bench

ROWS = ("submission", "worker", "completion", "trees", "sites")
DATABASE = os.environ.setdefault(
    "BENCH_DATABASE_URL", "postgres://postgres:postgres@127.0.0.1:5432/uw_bench"
)
REDIS = os.environ.setdefault("BENCH_REDIS_URL", "redis://127.0.0.1:6379/8")


def services() -> dict[str, str]:
    """Create the database if it is missing; return the versions of the services."""
    server, name = DATABASE.rsplit("/", 1)
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if known.fetchone() is None:
            connection.execute(f'CREATE DATABASE "{name}"')
        row = connection.execute("SHOW server_version").fetchone()
        commit = commit_time(connection)
    found = redis.Redis.from_url(REDIS).info("server")
    return {
        "PostgreSQL": str(row and row[0]).split()[0],
        "Redis": found["redis_version"],
        "commits wait for the disk": "yes" if os.environ.get("BENCH_DURABLE") else "no",
        "a commit that waits, ms": commit,
    }


def commit_time(connection: psycopg.Connection) -> str:
    """Return the median and the range of the time that a durable commit takes, in ms."""
    found = []
    for _ in range(50):
        begin = time.perf_counter()
        connection.execute("SELECT pg_logical_emit_message(true, 'bench', 'x')")
        found.append((time.perf_counter() - begin) * 1000)
    return f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.1f})"


def main() -> None:
    """Run the rows that are asked for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; all if none is given")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        sys.exit(f"No such rows: {', '.join(sorted(unknown))}")
    versions = services()
    bench = Bench(options.scale, options.rounds)
    try:
        for name in options.rows or ROWS:
            import_module(f"benchmarks.rows.{name}").run(bench)
            report.write(bench, versions, options.output)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
