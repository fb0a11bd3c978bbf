"""The address of a server as settings write it.

Promises: what is given is an IP address and a port. Fails with ``ValueError`` that quotes what is none.
"""

import ipaddress


def server_address(text: str, default_port: int) -> tuple[str, int]:
    """Read ``ip``, ``ip:port`` or ``[ip]:port`` (``[]`` only around IPv6, where a port follows).

    Raises: ValueError
    """
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is no address of a server")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"{text!r} has no port from 1 to 65535")
    return str(ipaddress.ip_address(host)), int(port) if port else default_port
