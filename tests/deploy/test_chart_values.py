"""Wrong values are refused, and the message says which value and, where it is ours, what to do."""

import json
from typing import Any

import helm_python
import pytest
import yaml

from tests.deploy.rendering import CHART, Values, changed, example, render

POOL = {"name": "x", "egress": "podIP", "replicas": [{"ehlo": "m.example.com", "publicAddress": "192.0.2.1"}]}


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("replicaCount", 3, "replicaCount"),
        ("api.replicaCount", 3, "replicaCount"),
        ("api.image", "x", "image"),
        ("api.replicas", 0, "/api/replicas"),
        ("api.replicas", "two", "/api/replicas"),
        ("api.resources.request", {}, "request"),
        ("api.resources.requests", {"cpu": "lots"}, "/api/resources/requests/cpu"),
        ("api.service.type", "ExternalName", "/api/service/type"),
        ("api.service.port", 70000, "/api/service/port"),
        ("api.env", {"PATH": "/bin"}, "PATH"),
        ("api.env", {"HAYABIN_X": 1}, "/api/env/HAYABIN_X"),
        ("api.podLabels", {"app.kubernetes.io/name": "other"}, "app.kubernetes.io/name"),
        ("api.pdb", {"enabled": True, "maxUnavailable": 0}, "/api/pdb/maxUnavailable"),
        ("api.ingress", {"enabled": True, "hosts": []}, "hosts"),
        ("image.tag", "a b", "/image/tag"),
        ("image.digests", {"api": "sha256:12"}, "/image/digests/api"),
        ("image.digests", {"scheduler": "sha256:" + "0" * 64}, "scheduler"),
        ("secrets.values", {"databaseUrl": "mysql://x"}, "/secrets/values/databaseUrl"),
        ("secrets.values", {"masterKey": "short"}, "/secrets/values/masterKey"),
        ("secrets.existingSecret", "Upper", "/secrets/existingSecret"),
        ("settings.publicUrl", "t.example.com", "/settings/publicUrl"),
        ("settings.publicUrl", "https://t.example.com/", "/settings/publicUrl"),
        ("settings.returnPathDomain", "bounce", "/settings/returnPathDomain"),
        ("settings.logLevel", "verbose", "/settings/logLevel"),
        ("settings.drainTimeoutS", 0, "/settings/drainTimeoutS"),
        ("settings.traceSampleRatio", 1.5, "/settings/traceSampleRatio"),
        ("settings.dnsServers", ["resolver"], "/settings/dnsServers/0"),
        ("settings.databaseUrl", "postgresql://x", "databaseUrl"),
        ("podSecurity.runAsUser", 0, "/podSecurity/runAsUser"),
        ("scheduler.keda", {"enabled": True}, "keda"),
        ("bounce.service.loadBalancerSourceRanges", ["all"], "/bounce/service/loadBalancerSourceRanges/0"),
        ("networkPolicy.database", {"port": 5432}, "port"),
        ("networkPolicy.socks5", {"ports": []}, "/networkPolicy/socks5/ports"),
        ("settings.transcriptDays", -1, "/settings/transcriptDays"),
        ("settings.unknownBulk", "resend", "/settings/unknownBulk"),
        ("settings.unknownTransactional", True, "/settings/unknownTransactional"),
        ("dispatcher.smtpPort", 0, "/dispatcher/smtpPort"),
        ("dispatcher.egressProbes", ["mx.example.com"], "/dispatcher/egressProbes/0"),
        ("dispatcher.egressTimeoutS", 0, "/dispatcher/egressTimeoutS"),
        ("dispatcher.maxConnections", 0, "/dispatcher/maxConnections"),
        ("dispatcher.prefetch", 101, "/dispatcher/prefetch"),
        ("dispatcher.mtaSts", "yes", "/dispatcher/mtaSts"),
        ("dispatcher.socks5Proxies", "192.0.2.1=socks5://u:p@h:1", "socks5Proxies"),
        ("dispatcher.replicas", 2, "replicas"),
        ("pools.0.name", "Bulk", "/pools/0/name"),
        ("pools.0.egress", "nat", "/pools/0/egress"),
        ("pools.0.egress", "socks5", "proxiesSecret"),
        ("pools.0.proxiesSecret", "Upper", "/pools/0/proxiesSecret"),
        ("pools.0.smtpPort", 2525, "smtpPort"),
        ("pools.0.egressProbes", ["mx.example.com:99999999"], "/pools/0/egressProbes/0"),
        ("pools.0.detachedMails", -1, "/pools/0/detachedMails"),
        ("pools.0.weight", 1, "weight"),
        ("pools.0.replicas", 2, "/pools/0/replicas"),
        ("pools.0.replicas", [], "/pools/0/replicas"),
        ("pools.0.replicas.0.ehlo", "localhost", "/pools/0/replicas/0/ehlo"),
        ("pools.0.replicas.0.ehlo", "a.example.com,192.0.2.9=b", "/pools/0/replicas/0/ehlo"),
        ("pools.0.replicas.0.publicAddress", "192.0.2.256", "/pools/0/replicas/0/publicAddress"),
        ("pools.0.replicas.0.sourceIps", [], "sourceIps"),
        ("pools.0.egress", "hostNetwork", "node"),
        ("pools.0.adminPort", 80, "/pools/0/adminPort"),
    ],
)
def test_schema_refuses_a_wrong_value_by_name(path: str, value: Any, named: str) -> None:
    """An unknown key or a value of the wrong type or range never reaches the cluster."""
    values = changed(example("minimal"), path, value)

    with pytest.raises(helm_python.HelmValuesError) as refused:
        render(values)

    assert named in str(refused.value)


CONTRADICTIONS = [
    ("minimal", {"settings.publicUrl": ""}, "settings.publicUrl is not set: give the tracker's base URL"),
    ("minimal", {"settings.returnPathDomain": ""}, "settings.returnPathDomain is not set: give the domain"),
    ("minimal", {"pools": []}, "pools is empty, so nothing could be sent: describe at least one IP pool"),
    ("minimal", {"secrets.existingSecret": ""}, "there is no default secret: create a Secret with the keys"),
    ("elastic", {"secrets.existingSecret": "x"}, "are both given: keep the Secret in existingSecret and remove"),
    (
        "elastic",
        {"secrets.values": {"databaseUrl": "postgresql://h/d"}},
        "secrets.values.masterKey is not set: give all four",
    ),
    ("elastic", {"secrets.values.brokerUrl": "postgresql://h/d"}, "keda counts RabbitMQ's queues"),
    ("minimal", {"serviceAccount": {"create": False}}, "name an existing account in serviceAccount.name"),
    ("minimal", {"api.ingress": {"enabled": True}}, "api.ingress.enabled needs api.ingress.host"),
    ("elastic", {"tracker.ingress.host": "other.example.com"}, "links in mails would lead elsewhere"),
    ("elastic", {"renderer.keda.minReplicas": 40}, "renderer.keda.minReplicas (40) is above maxReplicas (30)"),
    ("production", {"api.autoscaling.minReplicas": 13}, "api.autoscaling.minReplicas (13) is above"),
    ("production", {"api.resources": {"requests": {"cpu": None}}}, "api.resources.requests.cpu is not set: set it"),
    ("minimal", {"renderer.env": {"HAYABIN_MASTER_KEY": "x"}}, "renderer.env.HAYABIN_MASTER_KEY is set by the chart"),
    ("minimal", {"dispatcher.env": {"HAYABIN_POOL": "x"}}, "dispatcher.env.HAYABIN_POOL is set by the chart"),
    ("production", {"pools.1.name": "marketing"}, "pool marketing is described twice: give each pool its own name"),
    ("production", {"pools.1.replicas.0.sourceIps.0.address": "192.0.2.20"}, "source address 192.0.2.20 is given to"),
    ("production", {"pools.2.replicas.1.publicAddress": "192.0.2.30"}, "source address 192.0.2.30 is given to"),
    ("production", {"pools.1.replicas.0.sourceIps.0.address": "2001:DB8::20"}, "write 2001:DB8::20"),
    ("production", {"pools.1.replicas.0.sourceIps.0.address": "2001:db8:0::20"}, "write 2001:db8:0::20"),
    ("production", {"pools.0.replicas.1.node": "mail-1.example.com"}, "two replicas on node mail-1.example.com"),
    ("production", {"pools.1.adminPort": 9090}, "both want mail-1.example.com port 9090: give one of them another"),
    ("production", {"pools.0.nodeSelector": {"a": "b"}}, "its replicas name their nodes: remove its nodeSelector"),
    ("production", {"pools.0.affinity": {"nodeAffinity": {}}}, "its replicas name their nodes: remove its affinity"),
    ("minimal", {"pools.0.proxiesSecret": "proxies"}, "make its egress socks5 or remove it"),
    ("elastic", {"pools.1.replicas.1.sourceIps.0.address": "192.0.2.40"}, "source address 192.0.2.40 is given to"),
    ("minimal", {"dispatcher.dnssec": True}, "name resolvers that do in settings.dnsServers"),
    ("minimal", {"pools.0.dnssec": True}, "name resolvers that do in settings.dnsServers"),
    ("minimal", {"dispatcher.env": {"HAYABIN_MTA_STS": "no"}}, "dispatcher.env.HAYABIN_MTA_STS is set by the chart"),
    ("minimal", {"dispatcher.env": {"HAYABIN_SOCKS5_PROXIES": "x"}}, "HAYABIN_SOCKS5_PROXIES is set by the chart"),
    ("minimal", {"fullnameOverride": "a" * 40, "pools.0.name": "a-long-name"}, "longer than 52 characters: shorten"),
]


@pytest.mark.parametrize(("name", "changes", "message"), CONTRADICTIONS)
def test_contradiction_is_refused_with_what_to_do(name: str, changes: Values, message: str) -> None:
    """What the schema cannot say is said by the chart, before anything is installed."""
    values = example(name)
    for path, value in changes.items():
        values = changed(values, path, value)

    with pytest.raises(helm_python.HelmError) as refused:
        render(values)

    assert message in str(refused.value)


def test_dnssec_switched_off_for_a_pool_is_off() -> None:
    """A pool's false is a value: the dispatcher's true does not stand over it, nor does the chart ask for resolvers then."""
    values = changed(changed(example("minimal"), "dispatcher.dnssec", True), "pools.0.dnssec", False)

    pool = render(values).one("ConfigMap", "hb-hayabin-pool-main")

    assert pool["data"]["HAYABIN_DNSSEC"] == "false"


def test_contradictions_are_told_all_at_once() -> None:
    """Somebody who installs with no values learns the four things to give in one attempt."""
    with pytest.raises(helm_python.HelmError) as refused:
        render({})

    told = str(refused.value)
    for needed in ("settings.publicUrl", "settings.returnPathDomain", "pools", "secrets.existingSecret"):
        assert needed in told


def test_schema_is_closed_everywhere() -> None:
    """Every object of the schema either lists its properties or says what its free keys may hold."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    free = {"affinity", "global"}

    def walk(node: Any, name: str) -> list[str]:
        if isinstance(node, list):
            return [found for child in node for found in walk(child, name)]
        if not isinstance(node, dict):
            return []
        is_open = node.get("type") == "object" and "additionalProperties" not in node and name not in free
        return ([name] if is_open else []) + [
            found for key, child in node.items() for found in walk(child, name if key == "items" else key)
        ]

    # Lists of Kubernetes' own types, which Kubernetes checks.
    assert set(walk(schema, "")) <= {"tolerations", "topologySpreadConstraints", "to", "httpFrom", "metricsFrom"}


def test_default_values_have_every_key_of_the_schema_described() -> None:
    """values.yaml and the README name each top-level value that the schema knows."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    readme = (CHART / "README.md").read_text()

    assert set(values) == set(schema["properties"]) - {"global"}
    for name, value in values.items():
        for leaf in [f"{name}.{key}" for key in value] if isinstance(value, dict) and value else [name]:
            assert f"`{leaf}" in readme or f"`*.{leaf.partition('.')[2]}" in readme, leaf
