"""A private RabbitMQ for tests and benchmarks.

Promises: ``private_rabbitmq()`` yields a broker of its own (no plugins, a random user and password, its own ``epmd``)
that listens on 127.0.0.1 only, and removes it afterwards. Where ``HAYABIN_TEST_AMQP_URL`` is set, that broker is yielded
instead; it cannot be stopped or killed. Fails with ``ServerMissing`` or ``ServerFailed``.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support import instances
from tests.support.instances import KeptServer, Launch, ServerFailed, ServerMissing
from tests.support.small_disk import SmallDisk

USER = "hayabin"
SCRIPTS = Path("/usr/lib/rabbitmq/bin")
CONTROL_TIMEOUT_S = 60


class RabbitInstance:
    """A RabbitMQ broker; ``url`` stays the same over ``stop``/``kill`` and ``start``."""

    def __init__(self, url: str, server: KeptServer | None) -> None:
        """Keep the address and, where the broker is ours, the server."""
        self.url = url
        self._server = server

    def start(self) -> None:
        """Start the stopped or killed broker; returns when it speaks AMQP."""
        self._own().start()

    def stop(self) -> None:
        """Stop the broker in an orderly way."""
        self._own().stop()

    def kill(self) -> None:
        """SIGKILL the broker with all its processes."""
        self._own().kill()

    def wipe(self) -> None:
        """Stop the broker and start it again as if it were new, without its exchanges, queues and messages."""
        self.stop()
        for node in (self._own().folder / "mnesia").iterdir():
            if node.is_dir():
                shutil.rmtree(node)
            else:
                node.unlink()
        self.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended; by itself it may when its disk is full."""
        return self._own().running

    def process_ids(self) -> list[int]:
        """List the broker's processes; empty where the broker is not ours."""
        return self._server.process_ids() if self._server else []

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` with these arguments and return what it printed (takes a second or two).

        Raises: ``ServerFailed``.
        """
        server = self._own()
        done = subprocess.run(
            instances.as_user((str(SCRIPTS / "rabbitmqctl"), "--quiet", *arguments)),
            env=dict(server.launch.environment),
            cwd=server.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=CONTROL_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise ServerFailed(f"rabbitmqctl {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _own(self) -> KeptServer:
        """Return the broker that we may stop."""
        if self._server is None:
            raise ServerFailed("HAYABIN_TEST_AMQP_URL names a broker that is not ours to stop")
        return self._server


@contextmanager
def private_rabbitmq(*, disk: SmallDisk | None = None) -> Iterator[RabbitInstance]:
    """Run a RabbitMQ for the length of a ``with`` block; where told, with its data on a small disk (its log is not)."""
    given = os.environ.get("HAYABIN_TEST_AMQP_URL")
    if given and disk is None:
        yield RabbitInstance(given, None)
        return
    if not (SCRIPTS / "rabbitmq-server").exists():
        raise ServerMissing("RabbitMQ is not installed: `make test` installs it from Debian")
    folder = instances.new_folder("hayabin-mq-")
    try:
        password = secrets.token_urlsafe(18)
        port = instances.free_port()
        write_configuration(folder, password)
        if disk is not None:
            base = disk.folder / "mnesia"
            base.mkdir()
            instances.own(base)
            (folder / "mnesia").symlink_to(base)
        server = KeptServer(folder, launch(folder, port))
        try:
            server.start()
            yield RabbitInstance(f"amqp://{USER}:{password}@127.0.0.1:{port}/", server)
        finally:
            server.stop()
    finally:
        instances.remove_folder(folder)


def write_configuration(folder: Path, password: str) -> None:
    """Write the broker's configuration, the list of plugins (none) and the cookie of its Erlang cluster."""
    texts = {
        "rabbitmq.conf": (
            f"default_user = {USER}\ndefault_pass = {password}\n"
            "disk_free_limit.absolute = 20MB\nlog.console = true\nlog.console.level = warning\nlog.file = false\n"
        ),
        "enabled_plugins": "[].\n",
        ".erlang.cookie": secrets.token_hex(20),
    }
    for name, text in texts.items():
        path = folder / name
        path.write_text(text, encoding="ascii")
        path.chmod(0o400 if name.startswith(".") else 0o600)
        instances.own(path)


def launch(folder: Path, port: int) -> Launch:
    """Describe how this broker is started."""
    environment = {
        **instances.base_environment(folder),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),  # absent, so that the machine's own is not read
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_NODENAME": f"hayabin-{folder.name[-8:].replace('_', '-')}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(instances.free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(instances.free_port()),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP_BYTES": "0",
        # The start script then becomes the broker instead of waiting for it with signal traps of its own.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
    return Launch(
        command=(str(SCRIPTS / "rabbitmq-server"),),
        environment=environment,
        ready=lambda: speaks_amqp(port),
        stop_signal=signal.SIGTERM,
        ready_timeout_s=120,
    )


def speaks_amqp(port: int) -> bool:
    """Say whether the port answers the AMQP 0-9-1 protocol header with a method frame (Connection.Start)."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
        probe.sendall(b"AMQP\x00\x00\x09\x01")
        return probe.recv(1) == b"\x01"
    return False
