"""The chart rendered by Helm's own engine, offline, and ways to look at the objects that come out.

Fails: values that Helm or the chart refuses raise ``helm_python.HelmError`` with the message a user would read.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "hayabin"
RELEASE = "hb"
NAMESPACE = "mail"
EXAMPLES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))

Object = dict[str, Any]
Values = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What one set of values makes."""

    objects: tuple[Object, ...]
    notes: str

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [o for o in self.objects if o["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        """The object of that kind and name."""
        (found,) = [o for o in self.of(kind) if o["metadata"]["name"] == name]
        return found

    def workloads(self) -> list[Object]:
        """Everything that has a pod template."""
        return [o for o in self.objects if o["kind"] in {"Deployment", "StatefulSet", "Job"}]


def example(name: str) -> Values:
    """The values of ``ci/<name>-values.yaml``; a copy of one's own."""
    return copy.deepcopy(_example(name))


@cache
def _example(name: str) -> Values:
    return helm_python.values_from_yaml((CHART / "ci" / f"{name}-values.yaml").read_text())


def changed(values: Values, path: str, value: Any) -> Values:
    """A copy of the values with one of them replaced; ``path`` is dotted, list elements by number."""
    result = copy.deepcopy(values)
    *parents, last = path.split(".")
    at: Any = result
    for step in parents:
        at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
    if isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value
    return result


def render(values: Values, release: str = RELEASE) -> Rendered:
    """Render the chart and parse every document.

    Raises:
        helm_python.HelmError: the schema or the chart refuses the values.
    """
    with helm_python.Chart.load(CHART) as chart:
        manifests = chart.render(values, name=release, namespace=NAMESPACE)
    notes = next(text for path, text in manifests.items() if path.endswith("NOTES.txt"))
    objects = [
        document
        for path, text in manifests.items()
        if path.endswith(".yaml")
        for document in yaml.load_all(text, Loader=_NoDuplicates)
        if document
    ]
    return Rendered(tuple(objects), notes)


@cache
def rendered(name: str) -> Rendered:
    """The objects of an example, rendered once; not to be changed."""
    return render(example(name))


def pod_spec(workload: Object) -> Object:
    """The pod that a workload makes."""
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Object) -> Object:
    """The one container of a workload."""
    (only,) = pod_spec(workload)["containers"]
    found: Object = only
    return found


def environment(workload: Object, objects: Rendered) -> dict[str, str | None]:
    """Variables of the container; ``None`` stands for what comes from a Secret or a field."""
    variables: dict[str, str | None] = {}
    for source in container(workload).get("envFrom", []):
        variables |= objects.one("ConfigMap", source["configMapRef"]["name"])["data"]
    for entry in container(workload).get("env", []):
        variables[entry["name"]] = entry.get("value")
    return variables


def strings(node: Any) -> Iterator[str]:
    """Every key and string in a document."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield str(key)
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


class _NoDuplicates(yaml.SafeLoader):
    """A key given twice is an error, as it is for Kubernetes."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key in {keys}", node.start_mark)
        return super().construct_mapping(node, deep)
