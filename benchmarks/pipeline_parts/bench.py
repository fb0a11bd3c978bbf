"""Everybody in one place: our system and the relays warmed up, their mails looked at, and rounds with a turn for each.

Promises: before each turn the database has written down what it owes to the disk; in a peer's turn our services stand
still, and what PostgreSQL and RabbitMQ used meanwhile is told. Nobody is measured before some of his mails arrived, as
many as were sent, and the signatures of a few of them were verified.
Fails: ``SystemExit`` as ``kept_mail``, ``source`` and ``ours`` do.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pipeline_parts import comparison, kept_mail, source
from benchmarks.pipeline_parts.audience import Draft, sending_domain
from benchmarks.pipeline_parts.counting_sink import CountingSink, counting_sink
from benchmarks.pipeline_parts.ours import Ours
from benchmarks.pipeline_parts.signing_key import ED25519, RSA, SigningKey
from benchmarks.pipeline_parts.source import Load, Relay
from benchmarks.processes import cpu_of_group

OURS, DOUBLE, LIMIT = "hayabin", "hayabin_rsa_and_ed25519", "limit"
PROFILED = "profiled"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of mails."""

    main: int
    rounds: dict[str, int]
    warm_up: int
    profiled: int


@dataclass(slots=True)
class Bench:
    """What is running: our system, the relays, the port of the sink, the mail that relays are given."""

    ours: Ours
    relays: dict[str, Relay]
    sink_port: int
    mail: Path
    drafts: dict[str, Draft]
    sizes: Sizes

    def round(self, number: int, sink: CountingSink) -> dict[str, dict[str, Any]]:
        """Measure everybody once."""
        found: dict[str, dict[str, Any]] = {}
        for name in comparison.order(list(self.sizes.rounds), number):
            self.ours.settle()
            found[name] = self._ours(name, sink) if name in self.drafts else self._peer(name, sink)
            say(f"round {number + 1}: {name} {found[name]['emails_per_s']}/s")
        return found

    def _ours(self, name: str, sink: CountingSink) -> dict[str, Any]:
        return self.ours.send(self.drafts[name], sink)

    def _peer(self, name: str, sink: CountingSink) -> dict[str, Any]:
        def used_s() -> float:
            return sum(cpu_of_group(pids) for pids in self.ours.processes().values())

        before_s, started_s = used_s(), time.monotonic()
        with self.ours.standing_still():
            found = source.measure(self.relays[name], self.load(self.sizes.rounds[name]), sink)
            idle = (used_s() - before_s) / (time.monotonic() - started_s)
        return {**found, "cores_that_our_idle_system_used": round(idle, 3)}

    def load(self, mails: int) -> Load:
        """Give the load of a relay."""
        return Load(mails, self.mail, f"bounce@{sending_domain('warm')}")


def warm_up(bench: Bench, key: SigningKey) -> dict[str, int]:
    """Send a little through everybody, and look at what arrives; gives the size of everybody's mail.

    Ours comes to know the receiving domains (DNS, MTA-STS, DANE), which it remembers, if each has a mail of these.
    """
    found: dict[str, int] = {}
    mails = bench.sizes.warm_up
    double = tuple(SigningKey.made_for(sending_domain("warm-double"), kind) for kind in (RSA, ED25519))
    for name, slug, keys in ((OURS, "warm", (key,)), (DOUBLE, "warm-double", double)):
        draft = bench.ours.seed(slug, mails, keys)
        with counting_sink(bench.sink_port, keep=True) as sink:
            bench.ours.send(draft, sink)
            kept, found[name] = kept_mail.check(name, sink.kept_mails(), mails, keys)
        if name == OURS:
            bench.mail.write_bytes(kept_mail.unsigned(kept))
    for name, relay in bench.relays.items():
        with counting_sink(bench.sink_port, keep=True) as sink:
            source.put_through(relay, bench.load(mails), sink.mails)
            signed = (key,) if name.endswith("dkim") else ()
            _, found[name] = kept_mail.check(name, sink.kept_mails(), mails, signed)
    say(f"everybody warmed up; bytes of a mail: {found}")
    return found


def seed(bench: Bench) -> Draft:
    """Make the campaigns of the rounds; gives that of the main measure."""

    def made(slug: str, emails: int, *kinds: str) -> Draft:
        return bench.ours.seed(slug, emails, tuple(SigningKey.made_for(sending_domain(slug), kind) for kind in kinds))

    bench.drafts[OURS] = made("rounds", bench.sizes.rounds[OURS], RSA)
    bench.drafts[DOUBLE] = made("double", bench.sizes.rounds[DOUBLE], RSA, ED25519)
    bench.drafts[PROFILED] = made("profiled", bench.sizes.profiled, RSA)
    main = made("main", bench.sizes.main, RSA)
    bench.ours.settle()
    say("seeded")
    return main


def say(text: str) -> None:
    """Tell how it goes."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
