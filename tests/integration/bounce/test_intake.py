"""The SMTP side as wired: 250 only for what the belt has, and an orderly end."""

import asyncio
import signal
import smtplib
from pathlib import Path

from tests.integration.bounce.conftest import DOMAIN, SECRET, Bounce, Ledger, dsn, return_path, running_bounce
from tests.integration.tracker.conftest import server_proxy
from tests.support.instances import free_port
from tests.support.system import running_system
from tests.support.waiting import eventually


async def test_belt_away_is_451_and_the_next_try_is_taken(book: Ledger, database_url: str, empty_belt: str) -> None:
    """What is not safe is not answered for: the sender keeps the mail, and its retry has the effect."""
    to = return_path(book.ids[0])
    async with server_proxy(empty_belt) as (through, proxy), running_bounce(database_url, through) as bounce:
        proxy.take_away()
        assert await bounce.send(to, dsn(to)) == 451
        proxy.away = False

        async def again() -> int:
            return await bounce.send(to, dsn(to))

        await eventually(again, lambda code: code == 250, timeout_s=20, every_s=0.5)
        await eventually(book.states, lambda states: states[0] == "bounced")
        assert len(await book.events()) == 1


async def test_address_that_is_not_ours_is_refused_in_the_session(bounce: Bounce, book: Ledger) -> None:
    """Neither another domain nor another local part is taken."""
    assert await bounce.send("taro@example.jp", "Subject: x\r\n\r\nx\r\n") == 550
    assert await bounce.send(f"taro@{DOMAIN}", "Subject: x\r\n\r\nx\r\n") == 550
    assert await bounce.send(return_path(book.ids[0]).replace(DOMAIN, "other.example"), "x: y\r\n\r\n") == 550


async def test_killed_after_250_has_lost_nothing_and_sigterm_ends_with_status_0(
    tmp_path: Path, book: Ledger, database_url: str, empty_belt: str
) -> None:
    """SIGKILL right after the last 250: the next process projects every report; SIGTERM then ends it in order."""
    port = free_port()
    variables = {"token_secret": SECRET, "return_path_domain": DOMAIN, "bounce_host": "127.0.0.1"}

    def deliver() -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            for message_id in book.ids:
                to = return_path(message_id)
                assert client.sendmail("", [to], dsn(to)) == {}
            service.process.send_signal(signal.SIGKILL)
            service.process.wait()
            client.close()

    with running_system(tmp_path, database_url, empty_belt, **variables) as system:
        service = await asyncio.to_thread(system.start, "bounce", bounce_port=str(port))
        await asyncio.to_thread(deliver)
        system.services.remove(service)
        second = await asyncio.to_thread(system.start, "bounce", name="second", bounce_port=str(free_port()))
        await eventually(book.states, lambda states: states == ["bounced"] * 3)
        assert await asyncio.to_thread(system.stop, second) == 0, second.tail()
    assert (await book.counters())["bounced"] == 3
