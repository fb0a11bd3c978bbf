"""The environment of every process of a standalone run, from one place.

Promises: a process gets what is written here and nothing of the caller's environment (it finds modules where we find
them); all of it listens on loopback; mail goes to the sandbox's port, resolved by the sandbox's DNS, so none of it can
leave the machine.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.standalone.kept import Secrets
from services.standalone.places import Places
from services.standalone.settings import StandaloneSettings

SERVICES: Mapping[str, tuple[str, ...]] = {
    "api": ("services.api.main", "serve"),
    "scheduler": ("services.api.main", "scheduler"),
    "renderer": ("services.renderer.main",),
    "dispatcher": ("services.dispatcher.main",),
    "tracker": ("services.tracker.main",),
    "bounce": ("services.bounce.main",),
    "sandbox": ("services.standalone.sandbox.main",),
}
WAVES: Mapping[str, int] = {
    "api": 1, "scheduler": 1, "renderer": 2, "dispatcher": 3, "tracker": 4, "bounce": 4, "sandbox": 5,
}  # fmt: skip
"""Order of the stop: first who takes work, last who is delivered to."""

PORTS: Mapping[str, int] = {
    "postgres": 0, "api": 8080, "tracker": 8081, "mailbox": 8025, "bounce": 0, "smtp": 0, "dns": 0,
    **{f"admin_{service}": 0 for service in SERVICES},
}  # fmt: skip
"""Every port of a run with the one that is preferred, 0 for none."""

POLICIES = Path(__file__).parent / "sandbox" / "policies"
POOL = "demo"
SOURCES = ("127.0.0.11=mta1.hayabin.example", "127.0.0.12=mta2.hayabin.example")
RETURN_PATH_DOMAIN = "return.hayabin.example"
RETRY_DELAYS_S = "2,3,5,10,30"
DRAIN_TIMEOUT_S = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that processes have to agree on."""

    places: Places
    secrets: Secrets
    ports: Mapping[str, int]
    database_url: str
    settings: StandaloneSettings
    traced: bool
    """Whether processes append their spans to a file, which nothing bounds: for runs that end by themselves."""

    @property
    def trace_file(self) -> Path:
        """Where spans are written, if they are."""
        return self.places.logs / "traces.jsonl"

    def url(self, port: str, path: str = "") -> str:
        """The address of something that listens."""
        return f"http://127.0.0.1:{self.ports[port]}{path}"


def environment_of(service: str, plan: Plan) -> dict[str, str]:
    """The whole environment of a service's process."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(plan.places.root),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **{f"HAYABIN_{name}": value for name, value in {**_of_all(service, plan), **_of(service, plan)}.items()},
    }


def _of_all(service: str, plan: Plan) -> dict[str, str]:
    return {
        "DATABASE_URL": plan.database_url,
        "BROKER_URL": plan.database_url,
        "MASTER_KEY": plan.secrets.master_key,
        "TOKEN_SECRET": plan.secrets.token_secret,
        "PUBLIC_URL": plan.url("tracker"),
        "RETURN_PATH_DOMAIN": RETURN_PATH_DOMAIN,
        "DNS_SERVERS": f"127.0.0.1:{plan.ports['dns']}",
        "ADMIN_HOST": "127.0.0.1",
        "ADMIN_PORT": str(plan.ports[f"admin_{service}"]),
        "LOG_LEVEL": plan.settings.log_level,
        "OTLP_ENDPOINT": plan.settings.otlp_endpoint,
        "TRACE_SAMPLE_RATIO": str(plan.settings.trace_sample_ratio),
        "TRACE_FILE": str(plan.trace_file) if plan.traced else "",
        "DRAIN_TIMEOUT_S": str(DRAIN_TIMEOUT_S),
    }


def _of(service: str, plan: Plan) -> dict[str, str]:
    """What one service has beside that."""
    ports = plan.ports
    match service:
        case "api" | "tracker":
            return {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(ports[service])}
        case "dispatcher":
            return {
                "POOL": POOL,
                "SOURCE_IPS": ",".join(SOURCES),
                "SMTP_PORT": str(ports["smtp"]),
                "ALLOW_PRIVATE_MX": "true",
                "RETRY_DELAYS_S": RETRY_DELAYS_S,
                "POLICY_DIR": str(POLICIES),
            }
        case "bounce":
            return {"BOUNCE_HOST": "127.0.0.1", "BOUNCE_PORT": str(ports["bounce"])}
        case "sandbox":
            return {
                "SANDBOX_FOLDER": str(plan.places.sandbox),
                "SANDBOX_SMTP_PORT": str(ports["smtp"]),
                "SANDBOX_DNS_PORT": str(ports["dns"]),
                "SANDBOX_WEB_PORT": str(ports["mailbox"]),
                "SANDBOX_REPORT_PORT": str(ports["bounce"]),
            }
        case _:
            return {}
