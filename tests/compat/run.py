"""Run django-user-tasks' own test suite against this library.

    python tests/compat/run.py                       # all modules, protocols 1 and 2
    python tests/compat/run.py --protocol 2 test_models test_rest_api
    python tests/compat/run.py --package user_tasks  # the original itself, to check this script

The suite is taken from the source distribution on PyPI, with ``user_tasks`` replaced by
``user_workflows``. It is copied to a temporary directory, beside the site in ``tests/compat/site``,
and run there by pytest. ``SKIPPED`` lists the tests that are skipped, with the reasons.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ORIGINAL = "user_tasks"
REQUIREMENT = "django-user-tasks==4.0.0"
SHA256 = "a5939b916babb56fd04b026aa0a0242f059b7b9ac33ac6e59ed176d1f3606e9c"

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(__file__).resolve().parent / "site"
CACHE = ROOT / "build" / "compat"

DEFAULT_MODULES = [
    "test_admin",
    "test_models",
    "test_rest_api",
    "test_serializers",
    "test_signals",
    "test_storages",
    "test_tasks",
]

SKIPPED = {
    **dict.fromkeys(
        (
            "test_serializers.py::TestStatusSerializer::test_output",
            "test_serializers.py::TestStatusSerializer::test_output_with_artifact",
            "test_serializers.py::TestArtifactSerializer",
        ),
        "compares whole responses, which have more fields here",
    ),
    "test_signals.py::TestUtils": "tests its private helpers for message protocol 2",
    "test_storages.py::TestUserTaskStatus::test_storage_from_storages_dict": (
        "patches a storage alias into the app's settings that is not in STORAGES"
    ),
}


def download() -> Path:
    """Return the path of the source distribution; download it from PyPI the first time."""
    sdist = CACHE / "django_user_tasks-4.0.0.tar.gz"
    if not sdist.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        pip += ["--no-binary", "django-user-tasks", "--dest", str(CACHE), REQUIREMENT]
        subprocess.run(pip, check=True)
    if hashlib.sha256(sdist.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{sdist} is not the released {REQUIREMENT}: its checksum differs")
    return sdist


def copy_suite(sdist: Path, package: str, target: Path) -> None:
    """Copy the suite's modules, with the package renamed, and our site to ``target``."""
    with tarfile.open(sdist) as archive:
        for member in archive:
            path = Path(member.name)
            if path.parts[1:2] == ("tests",) and path.suffix == ".py":
                file = archive.extractfile(member)
                assert file is not None
                text = file.read().decode().replace(ORIGINAL, package)
                (target / path.name).write_text(text, encoding="utf-8")
    for file_of_site in SITE.glob("*.py"):
        shutil.copy(file_of_site, target)


def run_suite(target: Path, package: str, protocol: str, modules: list[str]) -> bool:
    """Run the modules with pytest in another process and return whether all passed."""
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", str(target)]
    command += ["-p", "no:cacheprovider", "-q", "-rs", "--timeout", "120"]
    if package != ORIGINAL:
        command += [option for test in SKIPPED for option in ("--deselect", test)]
    environment = {
        **os.environ,
        "COMPAT_PACKAGE": package,
        "COMPAT_PROTOCOL": protocol,
        "DJANGO_SETTINGS_MODULE": "compat_settings",
        "PYTHONPATH": os.pathsep.join([str(target), str(ROOT)]),
    }
    command += [f"{module}.py" for module in modules]
    print(f"== {package}, message protocol {protocol}: {' '.join(modules)}", flush=True)
    return subprocess.run(command, cwd=target, env=environment, check=False).returncode == 0


def main() -> int:
    """Run the chosen modules under each chosen protocol and return the exit status."""
    parser = argparse.ArgumentParser(
        description="Run django-user-tasks' tests against this library."
    )
    parser.add_argument("modules", nargs="*", default=DEFAULT_MODULES, metavar="test_module")
    parser.add_argument("--protocol", choices=["1", "2"], action="append")
    parser.add_argument("--package", default="user_workflows")
    options = parser.parse_args()

    for test, reason in SKIPPED.items():
        print(f"skipped: {test}: {reason}")
    passed = True
    with tempfile.TemporaryDirectory(prefix="compat-") as directory:
        target = Path(directory)
        copy_suite(download(), options.package, target)
        for protocol in options.protocol or ["1", "2"]:
            passed &= run_suite(target, options.package, protocol, options.modules)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
