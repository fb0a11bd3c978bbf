"""A DNS server with a scripted zone, over UDP and TCP on loopback.

In-process, or ``python -m tests.support.dns_zone --config FILE`` with JSON::

    {"address": "127.0.0.1", "port": 0, "ttl": 60, "zone": {
       "example.jp":      {"MX": ["10 mx1.example.jp.", "20 mx2.example.jp."]},
       "mx1.example.jp":  {"A": "127.0.0.2", "AAAA": "::1"},
       "*.wild.example":  {"A": "127.0.0.3"},
       "alias.example":   {"CNAME": "example.jp."},
       "null.example":    {"MX": "0 ."},
       "broken.example":  "SERVFAIL",
       "slow.example":    {"MX": "TIMEOUT", "A": "127.0.0.4"}}}

Instead of records, for a name or for one type: SERVFAIL, REFUSED, NXDOMAIN, TIMEOUT (no answer), REFERRAL (as a lame
server gives), NODATA. It answers as a recursive resolver would: CNAMEs are followed inside the zone, what is not there
is NXDOMAIN with an SOA. ``"secure": ["example.jp"]`` beside the zone plays a validating resolver: for these names and
what is below them (``"mx.example.jp AAAA"``: for this name and type alone) the answers have the AD bit, if the question
asked for it and the whole chain is of such names. ``follows = 1`` answers with one alias at a time.
The process prints one JSON line with its port when it is ready, and ends on SIGTERM.
"""

import argparse
import asyncio
import json
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.support.instances import free_port

Node = str | dict[str, str | list[str]]
Zone = dict[str, Node]

FAULTS = frozenset({"SERVFAIL", "REFUSED", "NXDOMAIN", "TIMEOUT", "REFERRAL", "NODATA"})
_UDP_BYTES = 1232
_LONGEST_CHAIN = 8


class DnsZone:
    """The server; use as an async context manager. ``zone`` may be changed while it runs."""

    def __init__(
        self, zone: Zone, *, address: str = "127.0.0.1", port: int = 0, ttl: int = 60, secure: Iterable[str] = ()
    ) -> None:
        """Prepare; nothing listens yet."""
        self.zone = zone
        self.secure = set(secure)
        self.address = address
        self.port = port
        self.ttl = ttl
        self.follows = _LONGEST_CHAIN
        self.queries: Counter[tuple[str, str]] = Counter()
        self.tcp_queries = 0
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.port = self.port or free_port()  # none of those that the system gives to UDP: queries hold them
        tcp = socket.create_server((self.address, self.port))
        self._tcp = await asyncio.start_server(self._serve_tcp, sock=tcp)
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), (self.address, self.port))
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                self.tcp_queries += 1
                answer = self.answer(await reader.readexactly(size), udp=False)
                if answer is not None:
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, wire: bytes, *, udp: bool) -> bytes | None:
        """Give the answer to a query, or None for silence."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True).lower()
        self.queries[name, kind] += 1
        response = dns.message.make_response(query, recursion_available=True)
        chain = self._fill(response, name, kind)
        if not chain:
            return None
        asked = query.flags & dns.flags.AD or query.ednsflags & dns.flags.DO
        if asked and all(self._is_secure(link, kind) for link in chain):
            response.flags |= dns.flags.AD
        data = response.to_wire(max_size=65535)
        if udp and len(data) > max(512, min(query.payload, _UDP_BYTES)):
            short = dns.message.make_response(query, recursion_available=True)
            short.flags |= dns.flags.TC
            return short.to_wire()
        return data

    def _is_secure(self, name: str, kind: str) -> bool:
        return f"{name} {kind}" in self.secure or any(
            name == signed or name.endswith(f".{signed}") for signed in self.secure
        )

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> list[str]:
        """Write the answer; give the names that it is about, none for silence."""
        chain: list[str] = []
        for _ in range(self.follows):
            chain.append(name)
            node = self._node(name)
            if node is None:
                self._fault(response, "NXDOMAIN")
                break
            value = node if isinstance(node, str) else node.get(kind, node.get("CNAME", "NODATA"))
            if isinstance(value, str) and value in FAULTS:
                return chain if self._fault(response, value) else []
            alias = not isinstance(node, str) and kind not in node
            records = [value] if isinstance(value, str) else value
            owner = dns.name.from_text(name)
            response.answer.append(dns.rrset.from_text(owner, self.ttl, "IN", "CNAME" if alias else kind, *records))
            if not alias:
                break
            name = records[0].rstrip(".").lower()
        return chain

    def _fault(self, response: dns.message.Message, fault: str) -> bool:
        match fault:
            case "TIMEOUT":
                return False
            case "SERVFAIL" | "REFUSED":
                response.set_rcode(dns.rcode.from_text(fault))
            case "REFERRAL":
                response.authority.append(dns.rrset.from_text(".", self.ttl, "IN", "NS", "ns.example."))
            case "NXDOMAIN":
                return self._negative(response, dns.rcode.NXDOMAIN)
            case _:
                return self._negative(response, dns.rcode.NOERROR)
        return True

    def _negative(self, response: dns.message.Message, rcode: dns.rcode.Rcode) -> bool:
        response.set_rcode(rcode)
        soa = f"ns.example. hostmaster.example. 1 3600 600 86400 {self.ttl}"
        response.authority.append(dns.rrset.from_text(".", self.ttl, "IN", "SOA", soa))
        return True

    def _node(self, name: str) -> Node | None:
        """Give what stands at a name: itself, the wildcard above it, or nothing below which something stands."""
        if name in self.zone:
            return self.zone[name]
        if any(other.endswith(f".{name}") for other in self.zone):
            return {}
        parent = name
        while parent:
            _, _, parent = parent.partition(".")
            if f"*.{parent}" in self.zone:
                return self.zone[f"*.{parent}"]
        return self.zone.get("*")


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsZone) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, udp=True)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


async def main() -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="scripted DNS server")
    parser.add_argument("--config", type=Path, required=True)
    config = json.loads(parser.parse_args().config.read_text(encoding="utf-8"))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = DnsZone(
        config["zone"],
        address=config.get("address", "127.0.0.1"),
        port=int(config.get("port", 0)),
        ttl=int(config.get("ttl", 60)),
        secure=config.get("secure", ()),
    )
    async with server:
        sys.stdout.write(json.dumps({"ready": True, "address": server.address, "port": server.port}) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
