"""The sandbox process: ``python -m services.standalone.sandbox.main``.

Promises: listens on 127.0.0.0/8 alone; ready when mail, DNS and pages are served.
Fails: ends with status 1 where a port can not be had.
"""

from hayabin.lifecycle import Process, run, serve_http
from services.standalone.sandbox.dns_server import DnsServer
from services.standalone.sandbox.journal import Journal
from services.standalone.sandbox.mailbox import Mailbox
from services.standalone.sandbox.providers import Providers, ReportRoute
from services.standalone.sandbox.settings import SandboxSettings
from services.standalone.sandbox.smtp_server import SmtpServer
from services.standalone.sandbox.web import make_app
from services.standalone.sandbox.zone import ADDRESSES, Zone

JOURNAL = "journal.jsonl"
ZONE = "zone.json"
MAILS = "mails"
FEEDBACK_LOCAL_PART = "fbl"


def main() -> None:
    """Entry of the process."""
    settings = SandboxSettings()

    async def work(process: Process) -> None:
        await serve(settings, process)

    run("sandbox", settings, work)


async def serve(settings: SandboxSettings, process: Process) -> None:
    """Serve until the process stops."""
    folder = settings.sandbox_folder
    journal = Journal(folder / JOURNAL)
    mailbox = Mailbox(folder / MAILS, folder / JOURNAL)
    route = ReportRoute(
        settings.sandbox_report_host,
        settings.sandbox_report_port,
        f"{FEEDBACK_LOCAL_PART}@{settings.return_path_domain}",
        settings.sandbox_report_delay_s,
    )
    providers = Providers(journal, mailbox, route)
    smtp = SmtpServer(providers)
    zone = Zone(folder / ZONE)
    dns = DnsServer(zone)
    listening = False

    async def is_listening() -> bool:
        return listening

    process.ready("listening", is_listening)
    try:
        await smtp.start(sorted(set(ADDRESSES.values())), settings.sandbox_smtp_port)
        await dns.start("127.0.0.1", settings.sandbox_dns_port)
        listening = True
        await serve_http(make_app(mailbox, zone), "127.0.0.1", settings.sandbox_web_port, process)
    finally:
        await smtp.stop()
        await dns.stop()
        await providers.stop()
        journal.close()


if __name__ == "__main__":
    main()
