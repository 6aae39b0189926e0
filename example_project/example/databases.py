"""Django's database settings from a URL, as hosting services provide it."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

ENGINES = {"postgres": "postgresql", "postgresql": "postgresql", "mysql": "mysql"}


def database(url: str) -> dict[str, Any]:
    """Return the settings of the database at `url`.

    Args:
        url: `postgres://user:password@host/name`, `mysql://...`, `sqlite:////absolute/path` or
            `sqlite:///relative/path`.
    """
    parts = urlsplit(url)
    name = unquote(parts.path[1:])
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": name,
            # So that several processes can write to one SQLite file without errors:
            # a transaction takes the lock when it begins, and waits for it.
            "OPTIONS": {
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
            },
        }
    if parts.scheme not in ENGINES:
        raise ValueError(f"DATABASE_URL must begin with postgres:, mysql: or sqlite:, not '{url}'")
    return {
        "ENGINE": f"django.db.backends.{ENGINES[parts.scheme]}",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
        "OPTIONS": dict(parse_qsl(parts.query)),
    }
