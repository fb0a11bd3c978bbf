"""The four receivers started together, on one port and an address each.

Promises: they listen when the block begins, and their processes and folders are gone when it or the program ends.
Fails with ``ServerMissing`` or ``ServerFailed``, see ``instances``.
"""

import random
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from tests.support import instances
from tests.support.instances import PORTS, ServerFailed
from tests.support.receivers import exim, haraka, opensmtpd, postfix, tree
from tests.support.receivers.place import Certificate, Place, host_of
from tests.support.receivers.receiver import Receiver

# Each server and its address.
SERVERS = {
    "postfix": (postfix.prepare, "127.0.0.21"),
    "exim": (exim.prepare, "127.0.0.22"),
    "opensmtpd": (opensmtpd.prepare, "127.0.0.23"),
    "haraka": (haraka.prepare, "127.0.0.24"),
}


@contextmanager
def running_receivers(names: Iterable[str] = SERVERS, *, starttls: bool) -> Iterator[list[Receiver]]:
    """Run those of ``names``, with a self-signed certificate each or without STARTTLS.

    Raises: ServerMissing, ServerFailed
    """
    tree.build()
    port = common_port([address for _, address in SERVERS.values()])
    with ExitStack() as stack:
        receivers = []
        for name in names:
            prepare, address = SERVERS[name]
            folder = instances.new_folder(f"hayabin-{name}-")
            stack.callback(tree.remove_folder, folder)
            certificate = Certificate.made_for(host_of(name)) if starttls else None
            receiver = prepare(Place(name, address, port, certificate), folder)
            stack.callback(receiver.server.stop)
            receiver.server.start()
            receivers.append(receiver)
        yield receivers


def common_port(addresses: list[str]) -> int:
    """Find a port that is free on every address."""
    for port in random.SystemRandom().sample(PORTS, 200):
        with ExitStack() as probes:
            try:
                for address in addresses:
                    probe = probes.enter_context(socket.socket())
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((address, port))
            except OSError:
                continue
            return port
    raise ServerFailed("no port is free on all addresses of the receivers")
