"""Pools: one StatefulSet each, and a source address belongs to exactly one replica."""

import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.rendering import EXAMPLES, Rendered, container, example, pod_spec, rendered


@dataclass(frozen=True)
class Pod:
    """Where Kubernetes would start a replica of a pool."""

    pool: str
    ordinal: int
    node: str = "any"
    ip: str = "10.0.0.1"


@pytest.mark.parametrize("name", EXAMPLES)
def test_pool_has_one_stateful_set_with_a_pod_for_each_replica(name: str) -> None:
    """Names, replica counts and the pool's own name reach the StatefulSet."""
    objects = rendered(name)
    sets = {s["metadata"]["name"]: s["spec"]["replicas"] for s in objects.of("StatefulSet")}

    assert sets == {f"hb-hayabin-pool-{p['name']}": len(p["replicas"]) for p in example(name)["pools"]}
    for pool in example(name)["pools"]:
        assert objects.one("ConfigMap", f"hb-hayabin-pool-{pool['name']}")["data"]["HAYABIN_POOL"] == pool["name"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_source_addresses_are_given_to_one_replica_each(name: str, tmp_path: Path) -> None:
    """Running the start command of every replica: no source address is seen twice, and all of them are seen."""
    seen: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for number, pool in enumerate(example(name)["pools"]):
        for ordinal, replica in enumerate(pool["replicas"]):
            address = f"10.{number}.0.{ordinal}"
            pod = Pod(pool["name"], ordinal, replica.get("node", "any"), address)
            given = _start(rendered(name), pod, tmp_path)
            seen.update(given.split(","))
            if pool["egress"] == "hostNetwork":
                wanted.update(f"{ip['address']}={ip['ehlo']}" for ip in replica["sourceIps"])
            else:
                wanted.update([f"{address}={replica['ehlo']}"])

    assert seen == wanted
    assert max(seen.values()) == 1


@pytest.mark.parametrize("pod", [Pod("transactional", 2), Pod("marketing", 0, "mail-9.example.com")])
def test_replica_without_source_address_does_not_start(pod: Pod, tmp_path: Path) -> None:
    """Scaled by hand, or on a node that the pool does not name: the container ends and says what to correct."""
    with pytest.raises(subprocess.CalledProcessError) as ended:
        _start(rendered("production"), pod, tmp_path)

    assert ended.value.returncode == 78
    assert f"pool {pod.pool} gives no source address" in ended.value.stderr


def test_replicas_on_the_host_network_go_to_their_nodes_one_each() -> None:
    """The scheduler may place such a pod on the named nodes only, and never two of one pool on a node."""
    spec = pod_spec(rendered("production").one("StatefulSet", "hb-hayabin-pool-marketing"))
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    (apart,) = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]

    assert [t["matchFields"][0]["values"] for t in terms] == [["mail-1.example.com"], ["mail-2.example.com"]]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    assert apart["labelSelector"]["matchLabels"]["hayabin-pool"] == "marketing"


def test_pool_of_its_own_resources_and_nodes_keeps_the_common_rest() -> None:
    """A pool's values lie on top of the dispatcher's."""
    newsletter = rendered("production").one("StatefulSet", "hb-hayabin-pool-newsletter")
    transactional = rendered("production").one("StatefulSet", "hb-hayabin-pool-transactional")

    assert container(newsletter)["resources"] == {
        "requests": {"cpu": "2", "memory": "256Mi"},
        "limits": {"memory": "1Gi"},
    }
    assert container(newsletter)["ports"] == [{"name": "admin", "containerPort": 9091, "protocol": "TCP"}]
    assert pod_spec(transactional)["nodeSelector"] == {"pool": "egress"}
    assert pod_spec(transactional)["tolerations"] == [{"key": "mail", "operator": "Exists", "effect": "NoSchedule"}]
    assert container(transactional)["resources"]["requests"]["cpu"] == "1"


def _start(objects: Rendered, pod: Pod, folder: Path) -> str:
    """Run the container's start command, with the sources mounted in ``folder`` and a ``python`` that tells what it was given.

    Raises:
        subprocess.CalledProcessError: the command refused to start the dispatcher.
    """
    workload = objects.one("StatefulSet", f"hb-hayabin-pool-{pod.pool}")
    (volume,) = [v for v in pod_spec(workload)["volumes"] if v["name"] == "sources"]
    mount = next(m["mountPath"] for m in container(workload)["volumeMounts"] if m["name"] == "sources")
    sources = folder / workload["metadata"]["name"]
    sources.mkdir(exist_ok=True)
    for file, content in objects.one("ConfigMap", volume["configMap"]["name"])["data"].items():
        (sources / file).write_text(content)
    python = folder / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    python.write_text(
        '#!/bin/sh\n[ "$*" = "-m services.dispatcher.main" ] || exit 3\nprintf %s "$HAYABIN_SOURCE_IPS"\n'
    )
    python.chmod(0o755)
    (script,) = container(workload)["args"]
    variables = {
        "PATH": f"{python.parent}:{os.defpath}",
        "POD_NAME": f"{workload['metadata']['name']}-{pod.ordinal}",
        "NODE_NAME": pod.node,
        "POD_IP": pod.ip,
    }
    assert {e["name"] for e in container(workload)["env"]} >= set(variables) - {"PATH"}
    command = [*container(workload)["command"], script.replace(mount, str(sources))]
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True, timeout=20).stdout
