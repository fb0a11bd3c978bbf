"""Every pod is what the restricted Pod Security Standard asks for, and reaches no more than it needs."""

import pytest

from tests.deploy.rendering import (
    EXAMPLES,
    Object,
    Values,
    changed,
    container,
    example,
    pod_spec,
    render,
    rendered,
    strings,
)

ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def restricted_violations(spec: Object) -> list[str]:
    """What the restricted profile (and our own additions to it) finds wrong with a pod, host network aside."""
    found = []
    pod = spec.get("securityContext", {})
    if not pod.get("runAsNonRoot"):
        found.append("pod runAsNonRoot")
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("seccompProfile")
    if pod.get("runAsUser", 1) == 0 or "sysctls" in pod:
        found.append("runAsUser or sysctls")
    if spec.get("hostPID") or spec.get("hostIPC"):
        found.append("host namespaces")
    if spec.get("automountServiceAccountToken") is not False:
        found.append("automountServiceAccountToken")
    if any(not (set(v) - {"name"}) <= ALLOWED_VOLUMES for v in spec.get("volumes", [])):
        found.append("volumes")
    for each in [*spec.get("initContainers", []), *spec["containers"]]:
        context = each.get("securityContext", {})
        wanted = {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        }
        found += [key for key, value in wanted.items() if context.get(key) is not value]
        if context.get("capabilities") != {"drop": ["ALL"]}:
            found.append("capabilities")
        if not {"requests", "limits"} <= set(each.get("resources", {})):
            found.append("resources")
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_pod_of_every_workload_is_restricted(name: str) -> None:
    """Deployments, StatefulSets and the migration Job alike, and each has requests and limits."""
    workloads = rendered(name).workloads()

    assert len(workloads) >= 7
    assert {w["metadata"]["name"]: restricted_violations(pod_spec(w)) for w in workloads} == {
        w["metadata"]["name"]: [] for w in workloads
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_host_network_is_used_by_the_pools_that_ask_for_it_alone(name: str) -> None:
    """A pod is in the host's network if and only if its pool's egress says so; then its admin port is not public."""
    asked = {f"hb-hayabin-pool-{p['name']}" for p in example(name)["pools"] if p["egress"] == "hostNetwork"}
    objects = rendered(name)

    assert {w["metadata"]["name"] for w in objects.workloads() if pod_spec(w).get("hostNetwork")} == asked
    for workload in objects.workloads():
        if workload["metadata"]["name"] in asked:
            host = [e for e in container(workload)["env"] if e["name"] == "HAYABIN_ADMIN_HOST"]
            assert host == [{"name": "HAYABIN_ADMIN_HOST", "value": "$(POD_IP)"}]


def test_service_accounts_mount_no_token() -> None:
    """Nothing of ours speaks to the Kubernetes API."""
    for name in EXAMPLES:
        for account in rendered(name).of("ServiceAccount"):
            assert account["automountServiceAccountToken"] is False
        assert not [o for o in rendered(name).objects if "Role" in o["kind"]]


def test_secrets_given_to_a_process_are_those_it_needs() -> None:
    """The master key (under which DKIM keys are sealed) is not given to the processes that face the internet."""
    holders = {
        container(w)["name"]
        for w in rendered("production").workloads()
        if any(e["name"] == "HAYABIN_MASTER_KEY" for e in container(w)["env"])
    }

    assert holders <= {"api", "scheduler", "renderer"}


def test_network_policies_cover_every_pod_both_ways() -> None:
    """With the switch on, each workload has one policy that closes both ways; only pools that own addresses reach port 25."""
    objects = rendered("elastic")
    reach_smtp = set()
    for workload in objects.workloads():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        policies = [
            p for p in objects.of("NetworkPolicy") if p["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        ]
        assert [p["spec"]["policyTypes"] for p in policies].count(["Ingress", "Egress"]) == 1
        if any(p["port"] == 25 for each in policies for rule in each["spec"]["egress"] for p in rule["ports"]):
            reach_smtp.add(workload["metadata"]["name"])

    assert reach_smtp == {"hb-hayabin-pool-main"}


@pytest.mark.parametrize(
    ("pool", "changes", "ports"),
    [
        ("main", {}, {25, 443}),
        ("main", {"pools.0.egressProbes": ["mx.example.com:2525", "[2001:db8::1]:25"]}, {25, 443, 2525}),
        ("main", {"dispatcher.mtaSts": False}, {25}),
        ("main", {"networkPolicy.https": {"ports": [8443]}}, {25, 8443}),
        ("edge", {}, {1080}),
        ("edge", {"pools.1.mtaSts": True}, {443, 1080}),
    ],
)
def test_network_policy_of_a_pool_lets_out_its_way_and_no_other(pool: str, changes: Values, ports: set[int]) -> None:
    """Mail servers and probes, or the proxies; policy hosts only where MTA-STS is kept to."""
    values = example("elastic")
    for path, value in changes.items():
        values = changed(values, path, value)
    spec = render(values).one("NetworkPolicy", f"hb-hayabin-pool-{pool}")["spec"]

    assert {p["port"] for rule in spec["egress"] for p in rule["ports"]} == ports
    assert spec["policyTypes"] == ["Egress"]
    assert spec["podSelector"]["matchLabels"]["hayabin-pool"] == pool
    if pool == "edge":
        assert spec["egress"][0]["to"] == [{"ipBlock": {"cidr": "198.51.100.0/24"}}]


def test_network_policy_of_dispatchers_opens_the_ports_of_their_resolvers() -> None:
    """A resolver on a port of its own can be asked, by UDP and TCP, and by nobody else."""
    objects = rendered("elastic")
    for component, opened in (("dispatcher", {"UDP", "TCP"}), ("api", set())):
        rules = objects.one("NetworkPolicy", f"hb-hayabin-{component}")["spec"]["egress"]
        assert {p["protocol"] for rule in rules for p in rule["ports"] if p["port"] == 5353} == opened


def test_network_policies_are_absent_when_switched_off() -> None:
    """Off means off: no policy, no scaler, no monitor in the minimal installation."""
    kinds = {o["kind"] for o in rendered("minimal").objects}

    assert not kinds & {"NetworkPolicy", "ScaledObject", "TriggerAuthentication", "ServiceMonitor", "Ingress"}


def test_user_ids_are_left_to_the_cluster_when_null() -> None:
    """OpenShift chooses ids itself; a pod that names one would be refused there."""
    for workload in rendered("elastic").workloads():
        assert not {"runAsUser", "runAsGroup"} & set(pod_spec(workload)["securityContext"])
    for workload in rendered("minimal").workloads():
        assert pod_spec(workload)["securityContext"]["runAsUser"] == 10001


def test_secret_values_appear_nowhere_but_in_secrets_and_notes_have_none() -> None:
    """A password given in the values is in no annotation, argument, ConfigMap or note."""
    values = example("elastic")
    values["secrets"]["values"]["brokerUrl"] = "amqp://hayabin:Sesame-7391@rabbitmq.data:5672/hayabin"
    objects = render(values)

    assert {o["kind"] for o in objects.objects if any("Sesame-7391" in s for s in strings(o))} == {"Secret"}
    assert "Sesame-7391" not in objects.notes
