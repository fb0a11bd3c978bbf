"""Every pod is what the restricted Pod Security Standard asks for, and reaches no more than it needs."""

import pytest

from tests.deploy.rendering import EXAMPLES, Object, container, example, pod_spec, render, rendered, strings

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
    """With the switch on, each workload has a policy that closes what it does not open; only dispatchers reach port 25."""
    objects = rendered("elastic")
    reach_smtp = set()
    for workload in objects.workloads():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        policies = [
            p for p in objects.of("NetworkPolicy") if p["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        ]
        assert len(policies) == 1
        assert policies[0]["spec"]["policyTypes"] == ["Ingress", "Egress"]
        if any(p["port"] == 25 for rule in policies[0]["spec"]["egress"] for p in rule["ports"]):
            reach_smtp.add(container(workload)["name"])

    assert reach_smtp == {"dispatcher"}


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
