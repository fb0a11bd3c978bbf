"""How a lane gets a connection: the hosts of a destination in their order, each by its plan, each address of it.

Promises: only addresses of the source IP's own family are tried; a host that may not be used by its TLS plan is not
connected to; the lane hears of every refusal, and the destination of the last one where no address was left.
Fails: a surprise comes out of ``session``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hayabin.domain.smtp_reply import SmtpPhase
from hayabin.telemetry.logging import get_logger
from services.dispatcher import complaints
from services.dispatcher.connect import ConnectFailure, Target, open_session
from services.dispatcher.lane import Lane
from services.dispatcher.reporting import Refusal
from services.dispatcher.route import MxHost
from services.dispatcher.settings import Source
from services.dispatcher.smtp_parameters import Peer, SmtpTimeouts
from services.dispatcher.smtp_session import SmtpSession
from services.dispatcher.tls_plan import HostRefused, PlanName, TlsPlan

if TYPE_CHECKING:
    from services.dispatcher.destination import Destination


@dataclass(frozen=True, slots=True, eq=False)
class Connecting:
    """See the module; once for each connection."""

    destination: "Destination"
    lane: Lane
    source: Source

    async def session(self) -> SmtpSession | None:
        """Try each address of each host in turn; None if none answered, which the destination was told then."""
        refusal: Refusal | None = None
        for host in self.destination.route.hosts:
            for address in host.addresses:
                if (":" in address) is not (":" in self.source.ip):
                    continue
                try:
                    plan = await self._plan(host)
                except HostRefused as failure:
                    peer = self._peer(host, address, failure.plan, failure.result)
                    refusal = Refusal(SmtpPhase.STARTTLS, failure.verdict, failure.reply, failure.detail, peer)
                    break
                try:
                    return await open_session(self._target(host, address, plan))
                except ConnectFailure as failure:
                    refusal = self._refused(self._peer(host, address, plan.name, failure.tls_result), failure)
        self.destination.not_reached(self.lane, self.source, refusal)
        return None

    def _refused(self, peer: Peer, failure: ConnectFailure) -> Refusal:
        """Let the lane hear of a failure, and give what it means for the mails that wait."""
        judged = complaints.take(
            failure.reply, failure.phase, failure.verdict, self.lane, self.destination.around.control.suspensions
        )
        get_logger().info("connect_failed", mx=peer.host, source_ip=self.source.ip, detail=str(failure)[:200])
        soon = judged.other_ip and self.destination.open_by_another(self.lane)
        return Refusal(failure.phase, judged.verdict, failure.reply, failure.detail, peer, failure.lines, soon=soon)

    def _peer(self, host: MxHost, address: str, plan: PlanName, result: str) -> Peer:
        return Peer(host.name, address, self.destination.around.smtp_port, self.source.ip, None, plan.value, result)

    async def _plan(self, host: MxHost) -> TlsPlan:
        destination = self.destination
        return await self.destination.around.planner.plan(
            host, self.lane.policy.tls, destination.sts, domain=destination.route.domain, provider=destination.provider
        )

    def _target(self, host: MxHost, address: str, plan: TlsPlan) -> Target:
        policy = self.lane.policy
        return Target(
            host=host.name,
            address=address,
            port=self.destination.around.smtp_port,
            ehlo_name=self.source.ehlo_name,
            source_ip=self.source.ip,
            proxy=self.source.proxy,
            plan=plan,
            provider=self.destination.provider,
            connect_timeout_s=policy.connect_timeout_s,
            timeouts=SmtpTimeouts(
                greeting_s=policy.greeting_timeout_s,
                mail_s=policy.command_timeout_s,
                rcpt_s=policy.command_timeout_s,
                data_s=policy.data_timeout_s,
                block_s=policy.block_timeout_s,
                dot_s=policy.dot_timeout_s,
            ),
        )
