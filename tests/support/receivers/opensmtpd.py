"""OpenSMTPD as a receiver: its delivery agent stores into a Maildir.

Promises: one process runs as root as it must, to deliver as the mailbox's user; the others run as ``opensmtpd`` and
``opensmtpq``, confined. Fails as ``tree`` does.
"""

import signal
from pathlib import Path

from tests.support.instances import KeptServer, Launch, base_environment
from tests.support.receivers.place import Place
from tests.support.receivers.receiver import Receiver, greets
from tests.support.receivers.tree import MAILBOX_ID, QUEUE_ID, SERVICE_ID, Tree

# Limits stay at their defaults; it offers no PIPELINING.
CONFIGURATION = """
{pki}
table everybody {{ "@{place.domain}" = mailbox }}
listen on {place.address} port {place.port} hostname {place.host} {tls}
action "keep" maildir "/mail/Maildir" virtual <everybody>
match from any for domain "{place.domain}" rcpt-to regex {{ "^reader" }} action "keep"
"""
PKI = """
pki {place.host} cert "/etc/ssl/certificate.pem"
pki {place.host} key "/etc/ssl/key.pem"
"""


def prepare(place: Place, folder: Path) -> Receiver:
    """Make an OpenSMTPD in ``folder``, not yet started."""
    tree = Tree(folder)
    tree.copy("opensmtpd")
    tree.name_users({"opensmtpd": SERVICE_ID, "opensmtpq": QUEUE_ID, "mailbox": MAILBOX_ID}, {})
    tree.make_folder("run")
    tree.make_folder("var")
    (tree.root / "var/run").symlink_to("../run")
    tree.make_folder("var/spool/smtpd", mode=0o711)
    tree.make_folder("mail", owner=MAILBOX_ID)
    pki, tls = "", ""
    if place.certificate:
        tree.write("etc/ssl/certs/ca-certificates.crt", place.certificate.certificate_pem)  # it does not start without
        tree.write("etc/ssl/certificate.pem", place.certificate.certificate_pem)
        tree.write("etc/ssl/key.pem", place.certificate.key_pem, mode=0o600)
        pki, tls = PKI.format(place=place), f"tls pki {place.host}"
    tree.write("etc/smtpd.conf", CONFIGURATION.format(place=place, pki=pki, tls=tls))
    launch = Launch(
        command=tree.command("/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"),
        environment=base_environment(folder),
        ready=greets(place),
        stop_signal=signal.SIGTERM,
        gives_up_root=True,
    )
    return Receiver(
        place,
        KeptServer(folder, launch),
        maildir=tree.root / "mail/Maildir",
        queues=(tree.root / "var/spool/smtpd/queue",),
    )
