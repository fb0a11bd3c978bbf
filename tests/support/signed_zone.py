"""A real validating resolver (unbound) that holds zones signed here, with their keys as its only trust anchors.

Promises: a private instance on a free port of 127.0.0.1, ended with the test; it asks nobody else. A zone that is not
signed is insecure to it, one that was tampered with after signing is bogus.
Fails with ``ServerMissing`` where unbound is not installed, ``ServerFailed`` where it does not start.
"""

import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dns.dnssec
import dns.dnssectypes
import dns.message
import dns.name
import dns.rdatatype
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import instances
from tests.support.instances import KeptServer, Launch, ServerFailed, ServerMissing

_LIFETIME_S = 7 * 86400
_SOA = "@ 60 IN SOA ns hostmaster 1 3600 600 86400 60\n@ 60 IN NS ns\nns 60 IN A 127.0.0.1\n"
_CONFIG = """\
server:
  interface: 127.0.0.1@{port}
  directory: "{folder}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  do-ip6: no
  module-config: "validator iterator"
  num-threads: 1
  local-zone: "test." nodefault
  val-bogus-ttl: 1
"""


@dataclass(frozen=True, slots=True)
class SignedZone:
    """One zone below ``test.``: records in master file form with relative names.

    ``tamper``: after signing, this text is replaced by that one in the zone file.
    """

    name: str
    records: str
    signed: bool = True
    tamper: tuple[str, str] | None = None


@contextmanager
def validating_resolver(*zones: SignedZone) -> Iterator[int]:
    """Run unbound with these zones; give its port."""
    program = shutil.which("unbound", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise ServerMissing("unbound is not installed: `make test` installs it from Debian")
    folder = instances.new_folder("hayabin-unbound-")
    port = instances.free_port()
    try:
        config = folder / "unbound.conf"
        config.write_text(_CONFIG.format(port=port, folder=folder) + "".join(_anchors_and_zones(folder, zones)))
        for path in folder.iterdir():
            instances.own(path)
        server = KeptServer(
            folder,
            Launch(
                command=(program, "-d", "-c", str(config)),
                environment=instances.base_environment(folder),
                ready=lambda: _answers(port),
                stop_signal=signal.SIGTERM,
                ready_timeout_s=20.0,
                stop_timeout_s=5.0,
            ),
        )
        server.start()
        try:
            yield port
        finally:
            server.stop()
    finally:
        instances.remove_folder(folder)


def _anchors_and_zones(folder: Path, zones: tuple[SignedZone, ...]) -> Iterator[str]:
    sections = ""
    for zone in zones:
        text, anchor = _zone_file(zone)
        path = folder / f"{zone.name}.zone"
        path.write_text(text)
        if anchor:
            yield f'  trust-anchor: "{anchor}"\n'
        sections += (
            f'auth-zone:\n  name: "{zone.name}."\n  zonefile: "{path}"\n  for-downstream: no\n  for-upstream: yes\n'
        )
        sections += "  fallback-enabled: no\n"
    yield sections


def _zone_file(zone: SignedZone) -> tuple[str, str]:
    """Give the zone's master file and its trust anchor, empty for an unsigned zone."""
    parsed = dns.zone.from_text(f"$TTL 60\n{_SOA}{zone.records}\n", origin=f"{zone.name}.", relativize=False)
    anchor = ""
    if zone.signed:
        key = ec.generate_private_key(ec.SECP256R1())
        algorithm = dns.dnssectypes.Algorithm.ECDSAP256SHA256
        dnskey = dns.dnssec.make_dnskey(key.public_key(), algorithm, flags=257)
        with parsed.writer() as transaction:
            dns.dnssec.sign_zone(parsed, transaction, keys=[(key, dnskey)], lifetime=_LIFETIME_S, add_dnskey=True)
        anchor = f"{zone.name}. IN DNSKEY {dnskey.to_text()}"
    text = parsed.to_text(relativize=False)
    if zone.tamper is not None:
        before, after = zone.tamper
        if before not in text:
            raise ServerFailed(f"nothing to tamper with: {before}")
        text = text.replace(before, after)
    return text, anchor


def _answers(port: int) -> bool:
    query = dns.message.make_query("ready.test.", dns.rdatatype.A).to_wire()
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.3)
        probe.connect(("127.0.0.1", port))
        probe.send(query)
        return len(probe.recv(512)) > 0
    return False
