"""Every example renders to objects that Kubernetes takes, and whose references to each other hold."""

from collections import Counter

import helm_python
import kubernetes_validate
import pytest

from tests.deploy.custom_resources import SCHEMAS, check_custom_resource
from tests.deploy.rendering import CHART, EXAMPLES, Object, Rendered, container, example, pod_spec, render, rendered

KUBERNETES = ("1.28", "1.31", "1.34", "1.37")
SECRET_VARIABLES = {
    "HAYABIN_DATABASE_URL",
    "HAYABIN_BROKER_URL",
    "HAYABIN_MASTER_KEY",
    "HAYABIN_TOKEN_SECRET",
    "HAYABIN_SOCKS5_PROXIES",
}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("version", KUBERNETES)
def test_object_of_every_example_is_valid_for_that_kubernetes(name: str, version: str) -> None:
    """Strict validation (no unknown field) of each object, custom resources by our own closed description of them."""
    for item in rendered(name).objects:
        if item["kind"] in SCHEMAS:
            check_custom_resource(item)
        else:
            kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("name", EXAMPLES)
def test_lint_of_every_example_finds_nothing(name: str) -> None:
    """Helm's linter has no warning or error (an icon is a matter of taste)."""
    report = helm_python.lint(CHART, example(name), strict=True)

    assert report["errors"] == []
    assert [m for m in report["messages"] if m["severity"] > 1] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_object_names_are_unique_and_short_enough(name: str) -> None:
    """No object overwrites another, and no name is over the limit of its kind."""
    objects = rendered(name).objects
    identities = Counter((o["apiVersion"], o["kind"], o["metadata"]["name"]) for o in objects)

    assert [i for i, count in identities.items() if count > 1] == []
    limits = {"StatefulSet": 52, "Service": 63, "Job": 63}
    assert [o for o in objects if len(o["metadata"]["name"]) > limits.get(o["kind"], 253)] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_selectors_match_the_pods_they_are_meant_for(name: str) -> None:
    """Workloads select their own pods only; Services, budgets, policies and scalers find what they speak of."""
    objects = rendered(name)
    pods = {w["metadata"]["name"]: w["spec"]["template"]["metadata"]["labels"] for w in objects.workloads()}

    for workload in objects.of("Deployment") + objects.of("StatefulSet"):
        assert _selected(workload["spec"]["selector"]["matchLabels"], pods) == {workload["metadata"]["name"]}
    for service in objects.of("Service"):
        assert _selected(service["spec"]["selector"], pods), service["metadata"]["name"]
    for budget in objects.of("PodDisruptionBudget"):
        assert _selected(budget["spec"]["selector"]["matchLabels"], pods) == {budget["metadata"]["name"]}
    for policy in objects.of("NetworkPolicy"):
        assert _selected(policy["spec"]["podSelector"]["matchLabels"], pods), policy["metadata"]["name"]
    for scaler in objects.of("ScaledObject") + objects.of("HorizontalPodAutoscaler"):
        target = objects.one("Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        assert "replicas" not in target["spec"], "an upgrade would undo the scaling"


@pytest.mark.parametrize("name", EXAMPLES)
def test_ports_that_are_referred_to_exist(name: str) -> None:
    """Probes, Services, Ingresses and policies name container ports that are there."""
    objects = rendered(name)
    for workload in objects.of("Deployment") + objects.of("StatefulSet"):
        ports = {p["name"] for p in container(workload)["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container(workload)[probe]["httpGet"]["port"] in ports
        assert container(workload)["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container(workload)["livenessProbe"]["httpGet"]["path"] == "/healthz"
        for service in _services_of(workload, objects):
            assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports
        for policy in _policies_of(workload, objects):
            if "Ingress" in policy["spec"]["policyTypes"]:
                named = {p["port"] for rule in policy["spec"].get("ingress", []) for p in rule["ports"]}
                assert named == ports
    for ingress in objects.of("Ingress"):
        for rule in ingress["spec"]["rules"]:
            backend = rule["http"]["paths"][0]["backend"]["service"]
            service = objects.one("Service", backend["name"])
            assert backend["port"]["name"] in {p["name"] for p in service["spec"]["ports"]}


@pytest.mark.parametrize("name", EXAMPLES)
def test_config_maps_secrets_and_accounts_referred_to_exist(name: str) -> None:
    """A pod never waits for an object that neither the chart makes nor the values name."""
    values, objects = example(name), rendered(name)
    given = values["secrets"].get("existingSecret")
    for workload in objects.workloads():
        spec = pod_spec(workload)
        for source in container(workload).get("envFrom", []):
            objects.one("ConfigMap", source["configMapRef"]["name"])
        for volume in (v for v in spec["volumes"] if "configMap" in v):
            name_of_it = volume["configMap"]["name"]
            assert name_of_it == values.get("dispatcher", {}).get("caConfigMap") or objects.one("ConfigMap", name_of_it)
        for volume in (v for v in spec["volumes"] if "secret" in v):
            assert volume["secret"]["secretName"] in {pool.get("proxiesSecret") for pool in values["pools"]}
        if values.get("serviceAccount", {}).get("create", True):
            objects.one("ServiceAccount", spec["serviceAccountName"])
        for entry in (e for e in container(workload)["env"] if "secretKeyRef" in e.get("valueFrom", {})):
            ref = entry["valueFrom"]["secretKeyRef"]
            assert ref["name"] == given or ref["key"] in objects.one("Secret", ref["name"])["stringData"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_secret_that_exists_already_is_used_and_none_is_made(name: str) -> None:
    """With existingSecret there is no Secret in the release; without, the values' secrets stand in Secrets alone."""
    values, objects = example(name), rendered(name)
    if values["secrets"].get("existingSecret"):
        assert objects.of("Secret") == []
        keys = values["secrets"].get("keys", {})
        entries = [e for w in objects.workloads() for e in container(w)["env"] if _is_secret(e)]
        assert {e["valueFrom"]["secretKeyRef"]["name"] for e in entries} == {values["secrets"]["existingSecret"]}
        assert not keys or {e["valueFrom"]["secretKeyRef"]["key"] for e in entries} == set(keys.values())
        return
    for secret in values["secrets"]["values"].values():
        holders = {o["kind"] for o in objects.objects if secret in str(o)}
        assert holders == {"Secret"}


def test_secrets_in_config_maps_are_none() -> None:
    """No ConfigMap of any example holds a variable that is a secret, whatever its value."""
    for name in EXAMPLES:
        for config in rendered(name).of("ConfigMap"):
            assert not SECRET_VARIABLES & set(config["data"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_hooks_bring_what_the_migration_needs_before_it_runs(name: str) -> None:
    """What the Job refers to is either not of the release or a hook of lower weight; nothing else is a hook."""
    objects = rendered(name)
    (job,) = objects.of("Job")
    weight = int(job["metadata"]["annotations"]["helm.sh/hook-weight"])
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"

    needed = {("ServiceAccount", pod_spec(job)["serviceAccountName"])} | {
        ("Secret", e["valueFrom"]["secretKeyRef"]["name"]) for e in container(job)["env"] if _is_secret(e)
    }
    for item in objects.objects:
        hook = item["metadata"].get("annotations", {}).get("helm.sh/hook")
        identity = (item["kind"], item["metadata"]["name"])
        if identity in needed:
            assert hook == "pre-install,pre-upgrade"
            assert int(item["metadata"]["annotations"]["helm.sh/hook-weight"]) < weight
        elif item is not job:
            assert hook is None
    assert "envFrom" not in container(job), "ConfigMaps of the release are not there yet"


@pytest.mark.parametrize("name", EXAMPLES)
def test_grace_period_is_longer_than_the_drain(name: str) -> None:
    """The kubelet kills no process that is still within its own drain time."""
    drain = example(name)["settings"].get("drainTimeoutS", 30)
    objects = rendered(name)
    for workload in objects.of("Deployment") + objects.of("StatefulSet"):
        hook = container(workload).get("lifecycle", {}).get("preStop", {"exec": {"command": ["sleep", "0"]}})
        delay = int(hook["exec"]["command"][1])
        assert pod_spec(workload)["terminationGracePeriodSeconds"] >= drain + delay + 5


def test_config_change_restarts_the_pods_that_read_it() -> None:
    """A changed setting, secret or source address changes the pod template's checksums, and only where it is read."""
    before = rendered("elastic")
    values = example("elastic")
    values["settings"]["publicUrl"] = "https://t2.example.com"
    values["tracker"]["ingress"]["host"] = "t2.example.com"
    after = render(values)

    restarted = {w["metadata"]["name"] for w in after.workloads() if w not in before.workloads()}
    assert {"hb-hayabin-renderer", "hb-hayabin-tracker"} <= restarted
    assert "hb-hayabin-bounce" not in restarted

    values["secrets"]["values"]["tokenSecret"] = values["secrets"]["values"]["masterKey"]
    with_secret = render(values)
    assert "hb-hayabin-bounce" in {w["metadata"]["name"] for w in with_secret.workloads() if w not in after.workloads()}


def test_image_digest_wins_over_the_tag() -> None:
    """A service with a digest is pinned by it; the others use the tag."""
    images = {container(w)["name"]: container(w)["image"] for w in rendered("production").workloads()}

    assert images["dispatcher"].startswith("registry.example.com/mail/hayabin/dispatcher@sha256:")
    assert images["api"] == images["scheduler"] == images["migrate"] == "registry.example.com/mail/hayabin/api:0.1.0"


def test_release_names_do_not_collide() -> None:
    """Two releases in one namespace share no object and no selector."""
    first, second = render(example("minimal"), "one"), render(example("minimal"), "two")

    assert not {o["metadata"]["name"] for o in first.objects} & {o["metadata"]["name"] for o in second.objects}
    pods = {w["metadata"]["name"]: w["spec"]["template"]["metadata"]["labels"] for w in second.workloads()}
    for service in first.of("Service"):
        assert _selected(service["spec"]["selector"], pods) == set()


def _is_secret(entry: Object) -> bool:
    return "secretKeyRef" in entry.get("valueFrom", {})


def _selected(selector: dict[str, str], pods: dict[str, dict[str, str]]) -> set[str]:
    return {name for name, labels in pods.items() if selector.items() <= labels.items()}


def _services_of(workload: Object, objects: Rendered) -> list[Object]:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    return [s for s in objects.of("Service") if s["spec"]["selector"].items() <= labels.items()]


def _policies_of(workload: Object, objects: Rendered) -> list[Object]:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    return [p for p in objects.of("NetworkPolicy") if p["spec"]["podSelector"]["matchLabels"].items() <= labels.items()]
