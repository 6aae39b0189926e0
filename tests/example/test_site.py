"""The site's own parts: database URLs and the embedded broker."""

import importlib.util
import sys
import threading

import pytest
from kombu import Connection

from .samples import ROOT


def module(name):
    """Import a module of the site alone: importing the site would set the current Celery app."""
    path = ROOT / "example_project" / "example" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"site_{name}", path)
    sys.modules[spec.name] = loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


database = module("databases").database
module("broker")  # registers files://


@pytest.mark.parametrize(
    ("url", "engine", "name", "host", "port"),
    [
        ("postgres://u%40x:p%2Fw@db:5433/site", "postgresql", "site", "db", 5433),
        ("postgresql://u%40x:p%2Fw@/site", "postgresql", "site", "", ""),
        ("mysql://u%40x:p%2Fw@127.0.0.1/site", "mysql", "site", "127.0.0.1", ""),
    ],
)
def test_database_url_gives_all_settings(url, engine, name, host, port):
    settings = database(url)
    assert settings["ENGINE"] == f"django.db.backends.{engine}"
    assert (settings["NAME"], settings["HOST"], settings["PORT"]) == (name, host, port)
    assert (settings["USER"], settings["PASSWORD"]) == ("u@x", "p/w")


def test_sqlite_url_gives_settings_for_several_processes():
    settings = database("sqlite:////var/lib/a%20b.sqlite3")
    assert settings["NAME"] == "/var/lib/a b.sqlite3"
    assert settings["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert database("sqlite:///db.sqlite3")["NAME"] == "db.sqlite3"


def test_database_url_with_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="must begin with"):
        database("oracle://host/name")


def send(options, count):
    with Connection("files://", transport_options=options) as connection:
        queue = connection.SimpleQueue("q")
        for number in range(count):
            queue.put({"number": number, "padding": "x" * 50_000})


def test_broker_delivers_messages_complete_and_in_order(tmp_path):
    """A consumer that polls without pause gets each message complete, and in order."""
    options = {
        "data_folder_in": str(tmp_path),
        "data_folder_out": str(tmp_path),
        "control_folder": str(tmp_path / "control"),
        "polling_interval": 0,
    }
    with Connection("files://", transport_options=options) as connection:
        queue = connection.SimpleQueue("q")
        sender = threading.Thread(target=send, args=(options, 200))
        sender.start()
        numbers = []
        for _ in range(200):
            message = queue.get(timeout=20)
            message.ack()
            numbers.append(message.payload["number"])
        sender.join()
    assert numbers == list(range(200))
    assert list(tmp_path.glob("*.msg")) == []
