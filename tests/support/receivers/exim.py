"""Exim as a receiver: it stores into a Maildir itself, at once or from its queue.

Promises: all of it runs as ``Debian-exim`` and never was root. Fails as ``tree`` does.
"""

import signal
from pathlib import Path

from tests.support.instances import KeptServer, Launch, base_environment
from tests.support.receivers.place import Place
from tests.support.receivers.receiver import Receiver, greets
from tests.support.receivers.tree import SERVICE_ID, Tree

# Limits stay at their defaults: 20 connections, 1,000 mails and 10 immediate deliveries for one; what is not delivered
# at once waits for a queue runner. Commands before their time are refused ("synchronization error"), as by default.
CONFIGURATION = """
primary_hostname = {place.host}
domainlist ours = {place.domain}
spool_directory = /srv/spool
log_file_path = /srv/log-%s
pid_file_path = /srv/pid
exim_user = Debian-exim
exim_group = Debian-exim
deliver_drop_privilege = true
never_users =
tls_advertise_hosts = {tls}
tls_certificate = /etc/chain.pem
tls_privatekey = /etc/chain.pem
acl_smtp_rcpt = recipient

begin acl
recipient:
  require domains = +ours
          verify = recipient
  accept

begin routers
reader:
  driver = accept
  domains = +ours
  local_parts = ^reader
  transport = maildir

begin transports
maildir:
  driver = appendfile
  directory = /srv/Maildir
  maildir_format
  envelope_to_add
  return_path_add
  delivery_date_add
"""
QUEUE_RUN = "-q2s"


def prepare(place: Place, folder: Path) -> Receiver:
    """Make an Exim in ``folder``, not yet started."""
    tree = Tree(folder)
    tree.copy("exim4-daemon-light")
    tree.name_users({"Debian-exim": SERVICE_ID}, {"mail": 8})
    tree.make_folder("srv", owner=SERVICE_ID)
    tree.write("etc/exim.conf", CONFIGURATION.format(place=place, tls="*" if place.certificate else ""))
    if place.certificate:
        tree.write("etc/chain.pem", place.certificate.chain_pem, mode=0o400, owner=SERVICE_ID)
    listen = f"[{place.address}]:{place.port}"
    launch = Launch(
        command=tree.command(
            "/usr/sbin/exim4", "-C", "/etc/exim.conf", "-bdf", QUEUE_RUN, "-oX", listen, user_id=SERVICE_ID
        ),
        environment=base_environment(folder),
        ready=greets(place),
        stop_signal=signal.SIGTERM,
        gives_up_root=True,
    )
    return Receiver(
        place,
        KeptServer(folder, launch),
        maildir=tree.root / "srv/Maildir",
        queues=(tree.root / "srv/spool/input",),
        logs=tuple(tree.root / f"srv/log-{kind}" for kind in ("panic", "reject", "main")),
    )
