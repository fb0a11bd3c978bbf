"""The image build: its structure, and each image's files with its locked dependencies alone, started."""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.dockerfile import build_files, copies, parse
from tests.deploy.rendering import EXAMPLES, ROOT, container, rendered

DOCKERFILE = (ROOT / "deploy" / "images" / "Dockerfile").read_text()
SERVICES = ("api", "renderer", "dispatcher", "tracker", "bounce")
DEPENDENCIES, FINAL = parse(DOCKERFILE)

# What a process can import in its image: the standard library, its own files, and its locked distributions.
IMPORT_IN_IMAGE = """
import importlib.abc, importlib.metadata, json, sys
allowed = set(json.loads(sys.argv[1]))
owners = importlib.metadata.packages_distributions()
normal = lambda name: name.lower().replace("_", "-").replace(".", "-")
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in owners and not allowed & {normal(owner) for owner in owners[top]}:
            raise ModuleNotFoundError(f"{name} is not in this image", name=name)
sys.meta_path.insert(0, Absent())
modules = sys.argv[2:]
for module in modules:
    __import__(module)
import hayabin
print(json.dumps({"hayabin": hayabin.__file__, "services": sorted(m for m in sys.modules if m.startswith("services."))}))
"""


def locked(service: str) -> set[str]:
    """Normalised names of the distributions in a service's lock."""
    text = (ROOT / "requirements" / f"{service}.txt").read_text()
    return {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}


@pytest.mark.parametrize("service", SERVICES)
def test_image_holds_the_shared_package_and_that_one_service(service: str, tmp_path: Path) -> None:
    """Every path that is copied exists, and no other service's code comes along."""
    build_files(FINAL, service, ROOT, tmp_path)

    assert (tmp_path / "app" / "hayabin" / "settings.py").is_file()
    assert {p.name for p in (tmp_path / "app" / "services").iterdir()} == {"__init__.py", service}
    assert {p.name for p in (tmp_path / "app").iterdir()} == {"hayabin", "services"}
    assert not list(tmp_path.rglob("*.pyc"))


@pytest.mark.parametrize("service", SERVICES)
def test_image_installs_that_services_lock(service: str, tmp_path: Path) -> None:
    """The dependency stage sees one lock, and every requirement of it is pinned with hashes."""
    build_files(DEPENDENCIES, service, ROOT, tmp_path)
    text = (tmp_path / "build" / "requirements.txt").read_text()

    assert text == (ROOT / "requirements" / f"{service}.txt").read_text()
    for requirement in re.split(r"\n(?=[A-Za-z0-9])", text):
        if re.match(r"[A-Za-z0-9]", requirement):
            assert re.match(r"[A-Za-z0-9._-]+==\S+", requirement)
            assert "--hash=sha256:" in requirement


def test_dependencies_are_checked_by_hash_and_nothing_is_compiled() -> None:
    """Installing may neither take what the lock does not name, nor build from source."""
    (install,) = [run for run in DEPENDENCIES.arguments_of("RUN") if " install " in run]

    assert {"--require-hashes", "--only-binary=:all:", "--no-deps"} <= set(install.split())


def test_final_stage_has_no_build_tools_and_an_unprivileged_user() -> None:
    """Nothing is installed in the final stage, pip is taken away, and the user is a number that Kubernetes can check."""
    runs = " ".join(FINAL.arguments_of("RUN"))

    assert not re.search(r"apt-get|\binstall\b|\bgcc\b|curl", runs)
    assert re.search(r"pip uninstall .*\bpip\b", runs)
    assert FINAL.arguments_of("USER") == ["10001:10001"]
    assert FINAL.base == DEPENDENCIES.base == "${PYTHON_IMAGE}"
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.1[12]-slim", DOCKERFILE, re.MULTILINE)
    assert [n for n, _ in FINAL.instructions].index("USER") > [n for n, _ in FINAL.instructions].index("COPY")


def test_files_that_are_copied_are_no_secrets_and_no_tests() -> None:
    """The context is an allow-list, so what lies about in a working tree cannot get into an image."""
    sources = {
        source for service in SERVICES for stage in (DEPENDENCIES, FINAL) for source, _ in copies(stage, service)
    }

    assert {source.partition("/")[0] for source in sources} == {"hayabin", "services", "requirements"}
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_build_without_a_service_ends_with_what_to_give() -> None:
    """A forgotten or misspelt build argument is said at the first step."""
    check = DEPENDENCIES.arguments_of("RUN")[0]

    for service in (*SERVICES, "", "apis", "standalone"):
        ended = subprocess.run(
            ["sh", "-c", check], env={"SERVICE": service}, capture_output=True, text=True, check=False
        )
        assert (ended.returncode == 0) == (service in SERVICES)
        if ended.returncode:
            assert "--build-arg SERVICE=api|renderer|dispatcher|tracker|bounce" in ended.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_image_can_import_every_module_it_holds(service: str, tmp_path: Path) -> None:
    """With the image's files alone and its locked distributions alone: the entry modules, and what is imported late."""
    build_files(FINAL, service, ROOT, tmp_path)
    app = tmp_path / "app"
    own = [
        ".".join(p.relative_to(app).with_suffix("").parts)
        for p in sorted((app / "services" / service).rglob("*.py"))
        if p.name != "__init__.py"
    ]

    loaded = _import_in(tmp_path, service, f"services.{service}.main", "hayabin.database.migrate", *own)

    assert loaded["hayabin"] == str(app / "hayabin" / "__init__.py")
    assert {name.split(".")[1] for name in loaded["services"]} == {service}


def test_distribution_that_is_not_locked_is_not_importable_in_the_emulation(tmp_path: Path) -> None:
    """The test above can fail: the dispatcher's image has no FastAPI, whatever is installed here."""
    build_files(FINAL, "dispatcher", ROOT, tmp_path)
    assert importlib.metadata.version("fastapi")

    with pytest.raises(ImportError, match="fastapi is not in this image"):
        _import_in(tmp_path, "dispatcher", "fastapi")


def test_processes_of_the_chart_are_modules_of_their_images(tmp_path: Path) -> None:
    """The module in each container's arguments is in the image that the container names."""
    for name in EXAMPLES:
        for workload in rendered(name).workloads():
            image = re.split(r"[:@]", container(workload)["image"].rpartition("/")[2])[0]
            arguments = " ".join(container(workload)["args"])
            (module,) = re.findall(r"\b(services\.\w+\.main|hayabin\.database\.migrate)\b", arguments)
            root = tmp_path / image
            if not root.exists():
                build_files(FINAL, image, ROOT, root)
            assert (root / "app" / Path(*module.split("."))).with_suffix(".py").is_file()


def _import_in(root: Path, service: str, *modules: str) -> dict[str, Any]:
    """Import modules as the image would: its files on the path, its lock's distributions, nothing else.

    Raises:
        ImportError: with the end of the traceback.
    """
    command = [
        sys.executable,
        "-B",
        "-s",
        "-c",
        IMPORT_IN_IMAGE,
        json.dumps(sorted(locked(service) | {"hayabin"})),
        *modules,
    ]
    environment = {"PYTHONPATH": str(root / "app"), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(
        command, cwd=root / "app", env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    if ran.returncode:
        raise ImportError("\n".join(ran.stderr.splitlines()[-8:]))
    loaded: dict[str, Any] = json.loads(ran.stdout)
    return loaded
