"""Postfix as a receiver: its own queue manager stores into a Maildir, its limits for strangers hold for us.

Promises: ``master`` runs as root as it must, everything else as ``postfix`` or as the mailbox's user.
Fails as ``tree`` does.
"""

import signal
from pathlib import Path

from tests.support.instances import KeptServer, Launch, base_environment
from tests.support.receivers.place import Place
from tests.support.receivers.receiver import Receiver, greets
from tests.support.receivers.tree import MAILBOX_ID, NOBODY_ID, QUEUE_ID, SERVICE_ID, Tree

# What Debian's main.cf leaves to its defaults stays at them: 50 connections of one client, 100 processes, 10 MB a mail.
MAIN = """
compatibility_level = 3.6
myhostname = {place.host}
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 192.0.2.1
smtpd_relay_restrictions = reject_unauth_destination
virtual_mailbox_domains = {place.domain}
virtual_mailbox_maps = regexp:{{ {{/^reader/ Maildir/}} }}
virtual_mailbox_base = /mail
virtual_uid_maps = static:{mailbox}
virtual_gid_maps = static:{mailbox}
maillog_file = /var/log/postfix.log
smtpd_tls_security_level = {tls}
tls_random_source =
"""
# As in Debian's master.cf, but for what only sends; in no chroot of their own, as all of it is in ours.
MASTER = """
{place.address}:{place.port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace")


def prepare(place: Place, folder: Path) -> Receiver:
    """Make a Postfix in ``folder``, not yet started."""
    tree = Tree(folder)
    tree.copy("postfix")
    tree.name_users(
        {"postfix": SERVICE_ID, "mailbox": MAILBOX_ID, "nobody": NOBODY_ID},
        {"postdrop": QUEUE_ID, "nogroup": NOBODY_ID},
    )
    spool = "var/spool/postfix"
    for queue in QUEUES:
        tree.make_folder(f"{spool}/{queue}", mode=0o700, owner=SERVICE_ID, group=0)
    tree.make_folder(f"{spool}/pid")
    tree.make_folder(f"{spool}/public", mode=0o710, owner=SERVICE_ID, group=QUEUE_ID)
    tree.make_folder(f"{spool}/maildrop", mode=0o1730, owner=SERVICE_ID, group=QUEUE_ID)
    tree.make_folder("var/lib/postfix", owner=SERVICE_ID, group=0)
    tree.make_folder("var/log")
    tree.make_folder("mail", owner=MAILBOX_ID)
    main = MAIN.format(place=place, mailbox=MAILBOX_ID, tls="may" if place.certificate else "none")
    if place.certificate:
        tree.write("etc/postfix/chain.pem", place.certificate.chain_pem, mode=0o600)
        main += "smtpd_tls_chain_files = /etc/postfix/chain.pem\n"
    tree.write("etc/postfix/main.cf", main)
    tree.write("etc/postfix/master.cf", MASTER.format(place=place))
    launch = Launch(
        command=tree.command("/usr/lib/postfix/sbin/master", "-d", "-c", "/etc/postfix"),
        environment=base_environment(folder),
        ready=greets(place),
        stop_signal=signal.SIGTERM,
        gives_up_root=True,
    )
    return Receiver(
        place,
        KeptServer(folder, launch),
        maildir=tree.root / "mail/Maildir",
        queues=tuple(tree.root / spool / queue for queue in ("incoming", "active", "deferred", "hold", "corrupt")),
        logs=(tree.root / "var/log/postfix.log",),
    )
