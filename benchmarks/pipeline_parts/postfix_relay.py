"""Postfix as a peer: takes mail in, keeps it in its queue on disk, and hands it to the sink; with OpenDKIM if told.

Promises: both are Debian's. Postfix stands in a tree of its own (see ``tests.support.receivers.tree``) with what
Debian's ``main.cf`` and ``master.cf`` say, but for the relay host, for local delivery, which there is none of, and for
certificates, which the sink has no use for; what those files leave to the defaults stays at them, among them 100
processes and 20 connections to one destination. It writes its log, as Debian's does. OpenDKIM has Debian's settings
(relaxed/simple, From signed twice), with a key of RSA-2048, and is asked over a socket of loopback.
Fails: ``ServerMissing`` or ``ServerFailed``, see ``instances``.
"""

import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.pipeline_parts.signing_key import SigningKey
from benchmarks.pipeline_parts.source import Relay
from tests.support import instances
from tests.support.instances import KeptServer, Launch, ServerMissing
from tests.support.receivers import tree
from tests.support.receivers.place import Place
from tests.support.receivers.postfix import QUEUES
from tests.support.receivers.receiver import greets
from tests.support.receivers.tree import NOBODY_ID, QUEUE_ID, SERVICE_ID, Tree

_MAIN = """
compatibility_level = 3.6
biff = no
append_dot_mydomain = no
myhostname = {place.host}
alias_maps =
mydestination =
relayhost = [127.0.0.1]:{sink_port}
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
mailbox_size_limit = 0
recipient_delimiter = +
inet_interfaces = loopback-only
inet_protocols = ipv4
maillog_file = /var/log/postfix.log
tls_random_source =
"""
_MASTER = """
{place.address}:{place.port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_OPENDKIM = """
Background no
Syslog no
Mode s
Canonicalization relaxed/simple
OversignHeaders From
RequireSafeKeys no
Domain {key.domain}
Selector {key.selector}
KeyFile {file}
Socket inet:{port}@127.0.0.1
"""


@contextmanager
def running_postfix(sink_port: int, key: SigningKey | None = None) -> Iterator[Relay]:
    """Run Postfix, with OpenDKIM if there is a key.

    Raises: ServerMissing, ServerFailed
    """
    tree.build()
    with ExitStack() as stack:
        groups = {}
        milter_port = 0
        if key:
            milter_port = instances.free_port()
            opendkim = stack.enter_context(_kept(_opendkim(key, milter_port, _folder(stack, "opendkim"))))
            groups["opendkim"] = opendkim.process_ids
        name = "postfix_opendkim" if key else "postfix"
        place = Place("postfix", "127.0.0.1", instances.free_port())
        folder = _folder(stack, "postfix")
        groups["postfix"] = stack.enter_context(_kept(_postfix(place, folder, sink_port, milter_port))).process_ids
        yield Relay(name, place.port, lambda: {name: pids() for name, pids in groups.items()})


def _folder(stack: ExitStack, name: str) -> Path:
    folder = instances.new_folder(f"hayabin-{name}-")
    stack.callback(tree.remove_folder, folder)
    return folder


@contextmanager
def _kept(server: KeptServer) -> Iterator[KeptServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _postfix(place: Place, folder: Path, sink_port: int, milter_port: int) -> KeptServer:
    made = Tree(folder)
    made.copy("postfix")
    made.name_users({"postfix": SERVICE_ID, "nobody": NOBODY_ID}, {"postdrop": QUEUE_ID, "nogroup": NOBODY_ID})
    spool = "var/spool/postfix"
    for queue in QUEUES:
        made.make_folder(f"{spool}/{queue}", mode=0o700, owner=SERVICE_ID, group=0)
    made.make_folder(f"{spool}/pid")
    made.make_folder(f"{spool}/public", mode=0o710, owner=SERVICE_ID, group=QUEUE_ID)
    made.make_folder(f"{spool}/maildrop", mode=0o1730, owner=SERVICE_ID, group=QUEUE_ID)
    made.make_folder("var/lib/postfix", owner=SERVICE_ID, group=0)
    made.make_folder("var/log")
    milter = f"smtpd_milters = inet:127.0.0.1:{milter_port}\n" if milter_port else ""
    made.write("etc/postfix/main.cf", _MAIN.format(place=place, sink_port=sink_port) + milter)
    made.write("etc/postfix/master.cf", _MASTER.format(place=place))
    launch = Launch(
        command=made.command("/usr/lib/postfix/sbin/master", "-d", "-c", "/etc/postfix"),
        environment=instances.base_environment(folder),
        ready=greets(place),
        stop_signal=signal.SIGTERM,
        gives_up_root=True,
    )
    return KeptServer(folder, launch)


def _opendkim(key: SigningKey, port: int, folder: Path) -> KeptServer:
    program = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
    if program is None:
        raise ServerMissing("OpenDKIM is missing: `scripts/debian-packages opendkim` installs it")
    file, settings = folder / "key.pem", folder / "opendkim.conf"
    for path, text in ((file, key.private_pem), (settings, _OPENDKIM.format(key=key, file=file, port=port))):
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        instances.own(path)

    def listens() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    launch = Launch(
        command=(program, "-f", "-x", str(settings)),
        environment=instances.base_environment(folder),
        ready=listens,
        stop_signal=signal.SIGTERM,
    )
    return KeptServer(folder, launch)
