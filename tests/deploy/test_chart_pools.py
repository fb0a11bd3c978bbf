"""Pools: one StatefulSet each, and a source address belongs to exactly one replica."""

import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.dispatcher.settings import DispatcherSettings
from tests.deploy.rendering import EXAMPLES, Rendered, container, environment, example, pod_spec, rendered


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
            given, _ = _start(rendered(name), pod, tmp_path)
            seen.update(given.split(","))
            if "sourceIps" in replica:
                wanted.update(f"{ip['address']}={ip['ehlo']}" for ip in replica["sourceIps"])
            else:
                wanted.update([f"{address}={replica['ehlo']}"])

    assert seen == wanted
    assert max(seen.values()) == 1


def test_replica_behind_proxies_is_given_the_proxy_of_each_of_its_addresses(tmp_path: Path) -> None:
    """The dispatcher's own settings read what the start command makes of the Secret: one proxy an address, none of others."""
    for ordinal, addresses in enumerate([("192.0.2.40", "2001:db8::40"), ("192.0.2.41",)]):
        given, proxies = _start(rendered("elastic"), Pod("edge", ordinal), tmp_path)
        settings = DispatcherSettings(
            pool="edge",
            database_url=SecretStr("postgresql://h/d"),
            broker_url=SecretStr("amqp://h/"),
            source_ips=given,
            socks5_proxies=SecretStr(proxies),
        )

        assert [source.ip for source in settings.sources] == list(addresses)
        assert [str(source.proxy) for source in settings.sources] == [f"{_host(a)}:1080" for a in addresses]


def test_replica_whose_address_has_no_proxy_does_not_start(tmp_path: Path) -> None:
    """The container ends and names the key that the Secret lacks; no mail leaves by the pod's own address."""
    with pytest.raises(subprocess.CalledProcessError) as ended:
        _start(rendered("elastic"), Pod("edge", 0), tmp_path, without="2001-db8--40")

    assert ended.value.returncode == 78
    assert "no proxy for 2001:db8::40: the Secret hayabin-proxies lacks the key 2001-db8--40" in ended.value.stderr


def test_pods_behind_proxies_own_no_address_and_are_in_no_host_network() -> None:
    """Egress socks5 needs nothing of the node: no host network, and the proxies' passwords come from their Secret alone."""
    spec = pod_spec(rendered("elastic").one("StatefulSet", "hb-hayabin-pool-edge"))
    others = pod_spec(rendered("elastic").one("StatefulSet", "hb-hayabin-pool-main"))

    assert "hostNetwork" not in spec
    assert [v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v] == ["hayabin-proxies"]
    assert not [v for v in others["volumes"] if "secret" in v]


def test_pool_replaces_settings_of_the_engine_also_by_false_and_by_nothing() -> None:
    """A pool's own probes, connections and switches hold for it, an empty list and a false among them; the rest is common."""
    marketing = environment(
        rendered("production").one("StatefulSet", "hb-hayabin-pool-marketing"), rendered("production")
    )
    newsletter = environment(
        rendered("production").one("StatefulSet", "hb-hayabin-pool-newsletter"), rendered("production")
    )
    edge = environment(rendered("elastic").one("StatefulSet", "hb-hayabin-pool-edge"), rendered("elastic"))

    assert marketing["HAYABIN_EGRESS_PROBES"] == "mx1.example.com:25,mx2.example.com:25"
    assert "HAYABIN_EGRESS_PROBES" not in newsletter
    assert (marketing["HAYABIN_MAX_CONNECTIONS"], newsletter["HAYABIN_MAX_CONNECTIONS"]) == ("1000", "400")
    assert (marketing["HAYABIN_MTA_STS"], edge["HAYABIN_MTA_STS"]) == ("true", "false")
    assert newsletter["HAYABIN_DNSSEC"] == "true"


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


def _host(address: str) -> str:
    return f"proxy-of-{address.replace(':', '-')}.example"


def _start(objects: Rendered, pod: Pod, folder: Path, without: str = "") -> tuple[str, str]:
    """Run the container's start command, with sources and proxies mounted in ``folder``; tells what ``python`` was given of both.

    The proxies' Secret has all addresses but ``without``.

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
    proxies = folder / f"{workload['metadata']['name']}-proxies{without}"
    proxies.mkdir(exist_ok=True)
    for key in {"192.0.2.40", "192.0.2.41", "2001-db8--40"} - {without}:
        (proxies / key).write_text(f"socks5://user:pass%2Cword@proxy-of-{key}.example:1080\n")
    python = folder / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    python.write_text(
        '#!/bin/sh\n[ "$*" = "-m services.dispatcher.main" ] || exit 3\nprintf "%s %s" "$HAYABIN_SOURCE_IPS" "${HAYABIN_SOCKS5_PROXIES-}"\n'
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
    script = script.replace(mount, str(sources)).replace("/etc/hayabin/proxies", str(proxies))
    command = [*container(workload)["command"], script]
    told = subprocess.run(command, env=variables, check=True, capture_output=True, text=True, timeout=20).stdout
    given, _, by_proxy = told.partition(" ")
    return given, by_proxy
