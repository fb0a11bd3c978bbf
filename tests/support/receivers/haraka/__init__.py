"""Haraka as a receiver: a queue plugin of ours (``keep_mail.js``) stores into a Maildir before it says 250.

Promises: all of it runs as a user without privileges, in one process. Fails as ``tree`` does, and with
``ServerMissing`` where there is no Node.
"""

import shutil
import signal
from pathlib import Path

from tests.support import instances
from tests.support.instances import KeptServer, Launch, ServerMissing, base_environment
from tests.support.receivers.place import Place
from tests.support.receivers.receiver import Receiver, greets
from tests.support.receivers.tree import copy_modules

PLUGIN = Path(__file__).with_name("keep_mail.js")


def prepare(place: Place, folder: Path) -> Receiver:
    """Make a Haraka in ``folder``, not yet started."""
    node = shutil.which("node")
    if node is None:
        raise ServerMissing("Node is not installed: `make test` installs it from Debian with npm")
    copy_modules("haraka", folder)
    shutil.copytree(folder / "node_modules/Haraka/config", folder / "config")  # as its own `haraka --install` does
    texts = {
        "config/smtp.ini": f"listen={place.address}:{place.port}\n",
        "config/me": f"{place.host}\n",
        "config/host_list": f"{place.domain}\n",
        "config/log.ini": "[main]\nlevel=notice\n",
        "config/plugins": ("tls\n" if place.certificate else "") + "keep_mail\nrcpt_to.in_host_list\n",
        "config/tls.ini": "key=key.pem\ncert=certificate.pem\n",
        "plugins/keep_mail.js": PLUGIN.read_text(encoding="utf-8"),
    }
    if place.certificate:
        texts |= {
            "config/key.pem": place.certificate.key_pem,
            "config/certificate.pem": place.certificate.certificate_pem,
        }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        instances.own(path)
    for name in ("Maildir", "Maildir/tmp", "Maildir/new"):
        (folder / name).mkdir()
        instances.own(folder / name)
    launch = Launch(
        command=(node, str(folder / "node_modules/Haraka/bin/haraka"), "-c", str(folder)),
        environment=base_environment(folder),
        ready=greets(place),
        stop_signal=signal.SIGTERM,
        stop_timeout_s=5,  # it waits for its outbound queue, which is empty
    )
    return Receiver(place, KeptServer(folder, launch), maildir=folder / "Maildir", queues=(folder / "Maildir/tmp",))
