"""The command ``hayabin`` with all its sub-commands, which are imported when asked for.

Promises: what a terminal's encoding has not is printed as an escape.
"""

import importlib
import io
import sys

import click

_COMMANDS = {
    "demo": ("services.standalone.demo", "demo_command"),
    "up": ("services.standalone.up", "up_command"),
    "admin": ("services.api.admin", "admin"),
    "audit": ("services.api.admin_audit", "audit"),
    "import": ("services.standalone.transfers.import_command", "import_command"),
    "export": ("services.standalone.transfers.export_command", "export_command"),
    "contacts": ("services.standalone.people.contacts", "contacts"),
    "lists": ("services.standalone.people.lists", "lists"),
    "segments": ("services.standalone.people.segments", "segments"),
    "suppressions": ("services.standalone.people.suppressions", "suppressions"),
    "consents": ("services.standalone.people.consents", "consents"),
    "parked": ("services.api.parked", "parked"),
    "people": ("services.api.admin_people", "people"),
    "smtp": ("services.dispatcher.command_smtp", "smtp"),
    "resolve": ("services.dispatcher.command_resolve", "resolve"),
}


class Lazy(click.Group):
    """A group whose commands are imported on demand, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of that name."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.command(cls=Lazy)
@click.version_option("0.1.0", prog_name="hayabin")
def hayabin() -> None:
    """Hayabin (早便): the bulk email delivery system that a company runs itself."""


def main() -> int:
    """Entry of the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    hayabin(prog_name="hayabin")
    return 0


if __name__ == "__main__":
    sys.exit(main())
