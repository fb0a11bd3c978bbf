"""What a scripted MX is told, and what it remembers over all its connections."""

import ssl
from collections import Counter
from dataclasses import dataclass, field

from tests.support.mx_behaviour import Behaviour, Rule, parse_line, parse_rules
from tests.support.mx_journal import Journal
from tests.support.self_signed import Identity, server_context

MAX_CONTENT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen, as whom, and how to behave; port 0 takes a free one."""

    address: str = "127.0.0.1"
    port: int = 0
    name: str = "mx.example.jp"
    manners: str = ""
    peers: dict[str, str] = field(default_factory=dict)  # further manners towards single client IPs
    recipients: dict[str, str] = field(default_factory=dict)
    identity: Identity | None = None  # what ``starttls`` shows; a self-signed certificate if None


@dataclass(slots=True)
class Record:
    """What a server remembers over all its connections."""

    journal: Journal
    connections: int = 0
    commands: list[str] = field(default_factory=list)  # every command line received, in order
    tries: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    open_from: Counter[str] = field(default_factory=Counter)  # connections by the peer's IP
    most_open_from: Counter[str] = field(default_factory=Counter)  # the most at the same time
    begun: list[tuple[float, str]] = field(default_factory=list)  # when MAIL came, from which IP

    def enter(self, peer_ip: str) -> None:
        """Count a connection."""
        self.connections += 1
        self.open_from[peer_ip] += 1
        self.most_open_from[peer_ip] = max(self.most_open_from[peer_ip], self.open_from[peer_ip])


class Hangup(Exception):
    """Close the connection now."""


class Script:
    """A listener's words, parsed."""

    def __init__(self, listener: Listener) -> None:
        """Parse; raises ValueError for words that mean nothing."""
        self.listener = listener
        self.manners = parse_line(listener.manners)
        self.towards = {peer_ip: parse_line(line) for peer_ip, line in listener.peers.items()}
        self.words = {behaviour.verb: behaviour.number for behaviour in self.manners if not behaviour.stage}
        self.rules: tuple[Rule, ...] = parse_rules(listener.recipients)
        self.context: ssl.SSLContext | None = None
        if "starttls" in self.words:
            self.context = listener.identity.context if listener.identity else server_context(listener.name)

    def behaviours_for(self, recipient: str) -> tuple[Behaviour, ...]:
        """Give what the first rule that fits says."""
        return next((rule.behaviours for rule in self.rules if rule.fits(recipient)), ())

    def extensions(self, *, tls: bool) -> list[str]:
        """Give the lines of the EHLO reply."""
        lines = [self.listener.name]
        if "no-pipelining" not in self.words:
            lines.append("PIPELINING")
        if "no-size" not in self.words:
            lines.append(f"SIZE {int(self.words.get('size', 0)) or MAX_CONTENT_BYTES}")
        if "no-8bitmime" not in self.words:
            lines.append("8BITMIME")
        if "smtputf8" in self.words:
            lines.append("SMTPUTF8")
        if self.context is not None and not tls:
            lines.append("STARTTLS")
        return [*lines, "ENHANCEDSTATUSCODES"]
