"""The chart speaks the code's language: environment variables, queues and paths are those that the processes know."""

import importlib

import pytest
from pydantic import TypeAdapter
from pydantic_settings import BaseSettings

from hayabin.broker.topology import shared_queues
from hayabin.domain.campaign import UNKNOWN_POLICIES, UnknownPolicy
from services.dispatcher.settings import DispatcherSettings
from tests.deploy.rendering import (
    EXAMPLES,
    Object,
    Rendered,
    changed,
    container,
    environment,
    example,
    render,
    rendered,
)

SECRETS = {
    "HAYABIN_DATABASE_URL": "postgresql://hayabin@127.0.0.1/hayabin",
    "HAYABIN_BROKER_URL": "amqp://hayabin@127.0.0.1/",
    "HAYABIN_MASTER_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "HAYABIN_TOKEN_SECRET": "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=",
}
# What the pool's start command sets, and what it reads.
SOURCES = {
    "HAYABIN_SOURCE_IPS": "127.0.0.2=m1.example.com,127.0.0.3=m2.example.com",
    "HAYABIN_SOCKS5_PROXIES": "127.0.0.3=socks5://proxy.example:1080",
}
DOWNWARD = {"POD_NAME": "hb-hayabin-pool-main-0", "NODE_NAME": "mail-1", "POD_IP": "127.0.0.1"}


# Where a process has its settings, if not in services/<name>/settings.py.
MODULES = {"scheduler": "services.api.scheduler.settings", "migrate": "hayabin.database.migrate"}


COMPONENTS = ("api", "scheduler", "renderer", "dispatcher", "tracker", "bounce", "migrate")


def workloads_of(component: str, objects: Rendered) -> list[Object]:
    """The workloads that run a component; at least one."""
    found = [w for w in objects.workloads() if container(w)["name"] == component]
    assert found
    return found


def settings_of(component: str) -> list[type[BaseSettings]]:
    """The settings that a component's process composes; for the migration, what it uses of the shared ones."""
    module = importlib.import_module(MODULES.get(component, f"services.{component}.settings"))
    local = component == "migrate"
    return [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, BaseSettings) and (local or item.__module__ == module.__name__)
    ]


def variables_of(settings: type[BaseSettings]) -> set[str]:
    """The environment variables that a settings class reads."""
    return {f"{settings.model_config.get('env_prefix', '')}{name}".upper() for name in settings.model_fields}


def process_environment(workload: Object, objects: Rendered) -> dict[str, str]:
    """The whole environment of a container, with stand-ins for what comes from Secrets and the node."""
    given = environment(workload, objects)
    known = SECRETS | DOWNWARD
    result = {
        name: known[name] if value is None else value.replace("$(POD_IP)", "127.0.0.1") for name, value in given.items()
    }
    return result | (SOURCES if container(workload)["name"] == "dispatcher" else {})


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("component", COMPONENTS)
def test_variables_that_the_chart_sets_are_known_to_the_process(name: str, component: str) -> None:
    """A variable that no setting of the service reads would be a promise that nothing keeps."""
    for workload in workloads_of(component, rendered(name)):
        given = {v for v in process_environment(workload, rendered(name)) if v.startswith("HAYABIN_")}
        classes = settings_of(component)
        unknown = given - set().union(*(variables_of(c) for c in classes))
        assert not unknown, f"{workload['metadata']['name']}: {sorted(unknown)}"


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("component", COMPONENTS)
def test_settings_of_every_process_are_complete_and_valid(
    name: str, component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exactly the container's environment, every settings class of the service can be built."""
    for workload in workloads_of(component, rendered(name)):
        classes = settings_of(component)
        with monkeypatch.context() as patch:
            for variable, value in process_environment(workload, rendered(name)).items():
                patch.setenv(variable, value)
            built = [settings() for settings in classes]
        assert built


def test_component_without_a_settings_check_is_none() -> None:
    """The two tests above see every container that any example starts."""
    assert {container(w)["name"] for name in EXAMPLES for w in rendered(name).workloads()} == set(COMPONENTS)


def test_admin_port_of_the_process_is_the_port_that_is_probed() -> None:
    """The number in the environment is the container port, for every process and for pools with a port of their own."""
    objects = rendered("production")
    for workload in objects.of("Deployment") + objects.of("StatefulSet"):
        ports = {p["name"]: str(p["containerPort"]) for p in container(workload)["ports"]}
        given = environment(workload, objects)
        assert given["HAYABIN_ADMIN_PORT"] == ports["admin"]
        assert given.get("HAYABIN_HTTP_PORT") == ports.get("http")
        assert given.get("HAYABIN_BOUNCE_PORT") == ports.get("smtp")


def test_defaults_of_the_chart_are_those_of_the_dispatcher() -> None:
    """A pool of the minimal example behaves as a dispatcher that is started by hand; what it does not set is as there."""
    objects = rendered("minimal")
    given = environment(objects.one("StatefulSet", "hb-hayabin-pool-main"), objects)
    compared = set()
    for name, described in DispatcherSettings.model_fields.items():
        value = given.get(f"HAYABIN_{name}".upper())
        if value is not None and not described.is_required() and name not in ("admin_host", "admin_port"):
            adapter: TypeAdapter[object] = TypeAdapter(described.annotation)  # type: ignore[arg-type]
            assert adapter.validate_strings(value) == described.default, name
            compared.add(name)

    assert {"max_connections", "detached_mails", "egress_timeout_s", "mta_sts", "dnssec", "transcript_days"} <= compared


def test_transcripts_are_kept_as_long_as_they_are_written() -> None:
    """The days reach who writes transcripts and who drops them; 0 is a number, not nothing."""
    for days in (0, 30):
        objects = render(changed(example("minimal"), "settings.transcriptDays", days))
        for kind, name in (("StatefulSet", "pool-main"), ("Deployment", "scheduler")):
            given = environment(objects.one(kind, f"hb-hayabin-{name}"), objects)
            assert given["HAYABIN_TRANSCRIPT_DAYS"] == str(days)


def test_policies_of_unknown_messages_reach_the_scheduler_and_default_to_its_own() -> None:
    """Each class's policy is told to the scheduler; what the chart says unasked is what the scheduler would do."""
    objects = rendered("minimal")
    given = environment(objects.one("Deployment", "hb-hayabin-scheduler"), objects)
    for message_class, policy in UNKNOWN_POLICIES.items():
        assert given[f"HAYABIN_UNKNOWN_{message_class.upper()}"] == policy
    for value, name in (("unknownBulk", "BULK"), ("unknownTransactional", "TRANSACTIONAL")):
        for policy in UnknownPolicy:
            objects = render(changed(example("minimal"), f"settings.{value}", policy.value))
            given = environment(objects.one("Deployment", "hb-hayabin-scheduler"), objects)
            assert given[f"HAYABIN_UNKNOWN_{name}"] == policy


def test_cas_of_a_config_map_are_mounted_where_the_setting_says() -> None:
    """``caConfigMap`` is mounted into the pools' pods alone, and the file of the setting is its key ca.crt."""
    objects = rendered("production")
    for workload in objects.workloads():
        mounts = {m["name"]: m["mountPath"] for m in container(workload)["volumeMounts"]}
        file = environment(workload, objects).get("HAYABIN_CA_FILE")
        assert file == (f"{mounts['ca']}/ca.crt" if "ca" in mounts else None)
        assert ("ca" in mounts) is (workload["kind"] == "StatefulSet")


def test_values_of_settings_reach_the_processes() -> None:
    """Drain time, resolvers, traces and public names of the production example arrive unchanged."""
    objects = rendered("production")
    dispatcher = environment(objects.one("StatefulSet", "hb-hayabin-pool-transactional"), objects)
    values = example("production")

    assert dispatcher["HAYABIN_DRAIN_TIMEOUT_S"] == "45"
    assert dispatcher["HAYABIN_DNS_SERVERS"] == "10.96.0.53,10.96.0.54:5353"
    assert dispatcher["HAYABIN_OTLP_ENDPOINT"] == values["settings"]["otlpEndpoint"]
    assert (
        environment(objects.one("Deployment", "hb-hayabin-renderer"), objects)["HAYABIN_PUBLIC_URL"]
        == "https://t.example.com"
    )


def test_queues_that_scale_a_service_exist() -> None:
    """KEDA asks RabbitMQ for queues that the topology declares."""
    declared = {queue.name for queue in shared_queues()}
    scalers = rendered("elastic").of("ScaledObject")
    asked = {t["metadata"]["queueName"] for s in scalers for t in s["spec"]["triggers"]}

    assert len(scalers) == 3
    assert asked <= declared
    assert {q for q in declared if q.startswith("render.")} <= asked
