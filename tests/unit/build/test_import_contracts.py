"""The import contracts name every service and every package there is."""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def contracts() -> dict[str, dict[str, Any]]:
    """The contracts of pyproject.toml by name."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return {contract["name"]: contract for contract in tomllib.load(file)["tool"]["importlinter"]["contracts"]}


def services() -> set[str]:
    """Every service but the one that runs them all."""
    folders = {folder.parent.name for folder in (ROOT / "services").glob("*/__init__.py")}
    return {f"services.{name}" for name in folders - {"standalone"}}


def test_independence_contract_lists_every_service() -> None:
    """A new service cannot import another one unnoticed: it has to be in the contract."""
    (independence,) = [contract for contract in contracts().values() if contract["type"] == "independence"]
    assert set(independence["modules"]) == services()


def test_standalone_contract_lists_every_service() -> None:
    """A new service cannot import standalone unnoticed."""
    (forbidden,) = [item for item in contracts().values() if item.get("forbidden_modules") == ["services.standalone"]]
    assert set(forbidden["source_modules"]) == services() | {"hayabin"}


def test_layers_contract_is_exhaustive() -> None:
    """A new package of hayabin has to be given a layer."""
    (layers,) = [contract for contract in contracts().values() if contract["type"] == "layers"]
    assert layers["exhaustive"] is True
    assert layers["containers"] == ["hayabin"]
