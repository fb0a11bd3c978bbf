"""Haraka as a peer: takes mail in, keeps it in its outbound queue on disk, and hands it to the sink; signed if told.

Promises: two processes that serve (``nodes=2``), as there are two cores, and the settings that Haraka installs
otherwise, with logging from ``notice`` on. Relaying for loopback and the route to the sink are a plugin of a few lines
(``relay_to_sink.js``); signing is Haraka's own plugin ``haraka-plugin-dkim``, RSA-2048 over the fields that it ships
with.
Fails: ``ServerMissing`` or ``ServerFailed``, see ``instances``.
"""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.pipeline_parts.signing_key import SigningKey
from benchmarks.pipeline_parts.source import Relay
from tests.support import instances
from tests.support.instances import KeptServer, Launch, ServerMissing, base_environment
from tests.support.receivers import tree
from tests.support.receivers.place import Place
from tests.support.receivers.receiver import greets

NODES = 2
# The fields are those of the plugin's own dkim.ini.
_DKIM = """
[sign]
enabled = true
headers = From, Sender, Reply-To, Subject, Date, Message-ID, To, Cc, MIME-Version
[verify]
enabled = false
"""
_PLUGIN = Path(__file__).with_name("relay_to_sink.js")


@contextmanager
def running_haraka(sink_port: int, key: SigningKey | None = None) -> Iterator[Relay]:
    """Run Haraka, with its plugin for DKIM if there is a key.

    Raises: ServerMissing, ServerFailed
    """
    tree.build()
    place = Place("haraka", "127.0.0.1", instances.free_port())
    folder = instances.new_folder("hayabin-haraka-")
    try:
        server = _haraka(place, folder, sink_port, key)
        server.start()
        try:
            yield Relay("haraka_dkim" if key else "haraka", place.port, lambda: {"haraka": server.process_ids()})
        finally:
            server.stop()
    finally:
        instances.remove_folder(folder)


def _haraka(place: Place, folder: Path, sink_port: int, key: SigningKey | None) -> KeptServer:
    node = shutil.which("node")
    if node is None:
        raise ServerMissing("Node is missing: `scripts/debian-packages npm` installs it")
    tree.copy_modules("haraka", folder)
    shutil.copytree(folder / "node_modules/Haraka/config", folder / "config")  # as its own `haraka --install` does
    texts = {
        "config/smtp.ini": f"listen={place.address}:{place.port}\nnodes={NODES}\n",
        "config/me": f"{place.host}\n",
        "config/log.ini": "[main]\nlevel=notice\n",
        "config/plugins": ("dkim\n" if key else "") + "relay_to_sink\n",
        "config/sink_port": f"{sink_port}\n",
        "plugins/relay_to_sink.js": _PLUGIN.read_text(encoding="utf-8"),
    }
    if key:
        texts |= {
            "config/dkim.ini": _DKIM,
            f"config/dkim/{key.domain}/private": key.private_pem,
            f"config/dkim/{key.domain}/selector": f"{key.selector}\n",
        }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        instances.own(path)
    launch = Launch(
        command=(node, str(folder / "node_modules/Haraka/bin/haraka"), "-c", str(folder)),
        environment=base_environment(folder),
        ready=greets(place),
        stop_signal=signal.SIGTERM,
        stop_timeout_s=5,  # it waits for its outbound queue, which is empty
    )
    return KeptServer(folder, launch)
