"""The OpenAPI description is complete."""

import json
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import json
from django.conf import settings
import tests.settings as base
options = {k: getattr(base, k) for k in dir(base) if k.isupper()}
options["INSTALLED_APPS"] = [*base.INSTALLED_APPS, "django_filters", "drf_spectacular"]
options["REST_FRAMEWORK"] = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
settings.configure(**options)
import django; django.setup()
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
schema = SchemaGenerator().get_schema(request=None, public=True)
validate_schema(schema)
print(json.dumps({"schema": schema, "words": [
    str(word) for found in (GENERATOR_STATS._warn_cache, GENERATOR_STATS._error_cache)
    for word in found]}))
"""


@pytest.fixture(scope="module")
def described() -> Any:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)


def test_the_schema_is_generated_without_warnings(described: Any) -> None:
    assert described["words"] == []


def test_the_schema_describes_answers_and_parameters_of_each_url(described: Any) -> None:
    paths = described["schema"]["paths"]
    one = "/api/tasks/{uuid}/"
    assert {
        path.removeprefix(one) for path in paths if path.startswith(one)
    } == {
        "", "tree/", "artifacts/", "artifacts.zip/", "failures/", "graph/", "cancel/",
    }  # fmt: skip
    tree = paths[one + "tree/"]["get"]
    answer = tree["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/Tree"}
    assert {"since", "depth", "after"} <= {row["name"] for row in tree["parameters"]}
    assert "application/zip" in paths[one + "artifacts.zip/"]["get"]["responses"]["200"]["content"]
    listed = {row["name"] for row in paths["/api/tasks/"]["get"]["parameters"]}
    assert {"phase", "action", "subject", "search", "ordering", "all"} <= listed
    status = described["schema"]["components"]["schemas"]["Status"]["properties"]
    assert status["root"]["format"] == status["parent"]["format"] == "uuid"
    assert status["percent"]["type"] == "integer"
