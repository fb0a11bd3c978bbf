"""The sandbox's DNS server, over UDP and TCP, on loopback.

Promises: answers with authority from ``Zone``; an answer that does not fit a datagram is truncated, so that the client
asks again over TCP; bytes that are no query are not answered.
Source: RFC 1035, RFC 7766 (TCP).
"""

import asyncio
import contextlib
import struct
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from hayabin.telemetry.logging import get_logger
from services.standalone.sandbox.zone import Zone

TTL_S = 5
DATAGRAM_MAX_BYTES = 1232
MESSAGE_MAX_BYTES = 65_535
TCP_IDLE_TIMEOUT_S = 10.0
TXT_STRING_MAX_BYTES = 255  # RFC 1035 §3.3.14: longer texts are several strings


def answer(zone: Zone, packet: bytes) -> dns.message.Message | None:
    """The response to a query, or None where the packet is none."""
    try:
        query = dns.message.from_wire(packet)
    except dns.exception.DNSException as error:
        get_logger().debug("sandbox_dns_garbage", error=repr(error))
        return None
    if query.flags & dns.flags.QR or len(query.question) != 1:
        return None
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    asked = query.question[0]
    kind = dns.rdatatype.to_text(asked.rdtype)
    records = zone.answer(asked.name.to_text(omit_final_dot=True), kind)
    if records is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif records:
        texts = [_quoted(record) if kind == "TXT" else record for record in records]
        try:
            found = dns.rrset.from_text_list(
                asked.name, TTL_S, "IN", kind, texts, origin=dns.name.root, relativize=False
            )
        except dns.exception.DNSException as error:  # somebody published what is no record
            get_logger().warning("sandbox_dns_bad_record", name=asked.name.to_text(), kind=kind, error=repr(error))
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            response.answer.append(found)
    return response


class DnsServer:
    """Listens on one port of one address."""

    def __init__(self, zone: Zone) -> None:
        """Nothing listens before ``start``."""
        self._zone = zone
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def start(self, address: str, port: int) -> None:
        """Listen on both transports.

        Raises:
            OSError: the port can not be had.
        """
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self._zone), local_addr=(address, port))
        self._tcp = await asyncio.start_server(self._on_connection, address, port)

    async def stop(self) -> None:
        """Stop listening."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            async with asyncio.timeout(TCP_IDLE_TIMEOUT_S):
                while True:
                    (length,) = struct.unpack(">H", await reader.readexactly(2))
                    response = answer(self._zone, await reader.readexactly(length))
                    if response is None:
                        break
                    wire = response.to_wire(max_size=MESSAGE_MAX_BYTES)
                    writer.write(struct.pack(">H", len(wire)) + wire)
                    await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """Answers datagrams."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # uvloop's is no subclass of it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one query."""
        response = answer(self._zone, data)
        if response is None or self._transport is None:
            return
        try:
            wire = response.to_wire(max_size=DATAGRAM_MAX_BYTES)
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        self._transport.sendto(wire, addr)


def _quoted(text: str) -> str:
    """A TXT record's text as strings of at most 255 bytes, in presentation form."""
    raw = text.encode()
    pieces = [raw[at : at + TXT_STRING_MAX_BYTES] for at in range(0, len(raw), TXT_STRING_MAX_BYTES)] or [b""]
    return " ".join('"' + "".join(_escaped(byte) for byte in piece) + '"' for piece in pieces)


def _escaped(byte: int) -> str:
    if byte in b'"\\':
        return f"\\{chr(byte)}"
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03d}"
