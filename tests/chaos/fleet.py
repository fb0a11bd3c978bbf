"""The services as replicas that can be killed, stopped and started again, as a cluster would do it.

Promises: each life of a replica has a name of its own in the ledger (``instance``), so what was in flight when it was
killed can be counted; a replica keeps its settings over its lives.
Fails: ``ServiceFailed`` quotes the log of a replica that does not become ready.
"""

import asyncio
import random
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.instances import free_port
from tests.support.system import Service, System

KINDS = ("api", "scheduler", "renderer", "dispatcher", "tracker", "bounce")
GRACE_S = 30.0


@dataclass(slots=True)
class Replica:
    """One place in which a service runs, one life after another."""

    kind: str
    number: int
    variables: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)  # what the process sees beside its settings
    lives: int = 0
    service: Service | None = None

    @property
    def name(self) -> str:
        """Kind and number."""
        return f"{self.kind}-{self.number}"

    @property
    def instance(self) -> str:
        """The name of this life in the ledger."""
        return f"{self.name}-life-{self.lives}"

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.service is not None and self.service.process.poll() is None


@dataclass(slots=True)
class Fleet:
    """All replicas of a world."""

    system: System
    random: random.Random
    replicas: list[Replica] = field(default_factory=list)
    crash_loops: int = 0
    """Lives that ended by themselves."""

    def add(self, kind: str, environment: Mapping[str, str] | None = None, **variables: str) -> Replica:
        """Add a replica and launch its first life, without waiting for it."""
        number = len(self.of(kind))
        replica = Replica(kind, number, {"log_level": "WARNING", **self._ports(kind), **variables})
        replica.environment.update(environment or {})
        self.replicas.append(replica)
        self.revive(replica)
        return replica

    @staticmethod
    def _ports(kind: str) -> dict[str, str]:
        match kind:
            case "api" | "tracker":
                return {"http_host": "127.0.0.1", "http_port": str(free_port())}
            case "bounce":
                return {"bounce_host": "127.0.0.1", "bounce_port": str(free_port())}
            case _:
                return {}

    def of(self, kind: str) -> list[Replica]:
        """The replicas of a kind."""
        return [replica for replica in self.replicas if replica.kind == kind]

    def urls(self, kind: str) -> list[str]:
        """Base URLs of a kind that speaks HTTP."""
        return [f"http://127.0.0.1:{replica.variables['http_port']}" for replica in self.of(kind)]

    def revive(self, replica: Replica, **more: str) -> None:
        """Begin the next life; ``more`` are settings of this life alone."""
        replica.lives += 1
        replica.service = self.system.launch(
            replica.kind,
            replica.environment,
            name=replica.name,
            **{**replica.variables, "instance": replica.instance, **more},
        )

    def kill(self, replica: Replica) -> str:
        """SIGKILL; returns the name of the life that ended."""
        self._forget(replica)
        if replica.service is not None:
            replica.service.process.kill()
            replica.service.process.wait()
        return replica.instance

    def _forget(self, replica: Replica) -> None:
        if replica.service in self.system.services:
            self.system.services.remove(replica.service)

    async def stop(self, replica: Replica) -> float:
        """SIGTERM and wait for the end; returns how long it took. What does not go in the grace time is killed."""
        if replica.service is None:
            return 0.0
        process = replica.service.process
        begun_s = asyncio.get_running_loop().time()
        process.send_signal(signal.SIGTERM)
        while process.poll() is None and asyncio.get_running_loop().time() < begun_s + GRACE_S + 5:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        took_s = asyncio.get_running_loop().time() - begun_s
        self.kill(replica)
        return took_s

    async def ready(self) -> None:
        """Wait until every replica is ready."""
        for replica in self.replicas:
            if replica.service is not None:
                await asyncio.to_thread(self.system.wait_ready, replica.service)

    def bury(self) -> list[Replica]:
        """Replicas that ended by themselves since the last look; each is started again, as a cluster would."""
        ended = [replica for replica in self.replicas if replica.service is not None and not replica.running]
        for replica in ended:
            self._forget(replica)
            self.crash_loops += 1
            self.revive(replica)
        return ended

    def rss_bytes(self) -> dict[str, int]:
        """Resident memory by replica."""
        return {
            replica.name: replica.service.rss_bytes()
            for replica in self.replicas
            if replica.service is not None and replica.running
        }
