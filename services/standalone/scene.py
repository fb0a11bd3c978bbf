"""What every chapter of a run needs: the API as one tenant, the screen, the plan, the sandbox's journal."""

from dataclasses import dataclass
from pathlib import Path

from services.standalone.environment import Plan
from services.standalone.rest import Rest
from services.standalone.sandbox.journal import Entry, read_journal
from services.standalone.sandbox.main import JOURNAL, MAILS
from services.standalone.screen import Screen
from services.standalone.seed import Tenant


@dataclass(frozen=True, slots=True)
class Scene:
    """One tenant in one run."""

    plan: Plan
    rest: Rest
    screen: Screen
    tenant: Tenant

    @property
    def domain(self) -> str:
        """The tenant's sending domain: one for each tenant, so that their DKIM records do not meet."""
        return f"{self.tenant.slug}.hayabin.example"

    @property
    def mails(self) -> Path:
        """Where the sandbox keeps received mails."""
        return self.plan.places.sandbox / MAILS

    def journal_size(self) -> int:
        """Where the journal ends now."""
        return self._journal.stat().st_size if self._journal.exists() else 0

    def journal_since(self, offset: int) -> list[Entry]:
        """What the sandbox did after that."""
        return list(read_journal(self._journal, offset))

    @property
    def _journal(self) -> Path:
        return self.plan.places.sandbox / JOURNAL
