"""A campaign's audience as SQL: who is in it by its definition, and why somebody gets no mail.

Promises: one statement text for a definition, its values are parameters; ledger, counts and previews are made from the
same, so what is shown before a launch is what the launch does, but for what changes meanwhile.
Fails: as the database does.

Who is in: subscribed to an included list, or of an included segment; who has left an included list since the launch is
in too, and left out as ``unsubscribed``. Of a segment is mailed only who is subscribed somewhere, and has not left the
list that the campaign's unsubscribe link is for. The order of reasons is that of ``LeftOut``. Frequency and same
content are looked up in the ledger of the tenant's campaigns of that time, by campaign and contact: what was sent, may
have been or still will be counts, so does what another launch put into the ledger a moment ago.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from hayabin.database.erasing import erased_sql
from hayabin.database.segment_compiling import Compiling, Parameters
from hayabin.database.segment_sql import condition
from hayabin.database.suppressing import LEFT_STATES, suppressed_sql
from hayabin.domain.audience import AudienceDefinition, LeftOut
from hayabin.domain.segment import Meets, Rule

SENT_OR_WILL_BE: Final = "('due', 'claimed', 'deferred', 'accepted', 'unknown', 'complained')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """A campaign's definition with all that it means just now."""

    campaign_id: int
    tenant_id: int
    list_id: int | None
    """What unsubscribing from this campaign is for."""
    definition: AudienceDefinition
    nested: dict[int, Rule]
    now: datetime
    """The moment of the launch; before it, this one."""
    needs_evidence: bool = False
    same_content_days: int = 0
    cap: int = 0
    cap_since: datetime | None = None
    cap_campaigns: tuple[int, ...] = ()
    same_content: tuple[int, ...] = ()
    """Campaigns that had the same content, launched recently enough."""

    @property
    def looks_at_others(self) -> bool:
        """Whether somebody is left out by what other campaigns put into the ledger."""
        return self.cap > 0 or self.same_content_days > 0

    @property
    def plain(self) -> bool:
        """Whether a list and the suppressions say all."""
        return (
            self.definition.plain
            and self.definition.include_lists == (self.list_id,)
            and not (self.needs_evidence or self.cap_campaigns or self.same_content)
        )


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the audience: contacts after an id, of at most so many looked at; None: all."""

    after_id: int = 0
    rows: int | None = None


class Writing:
    """The SQL of one audience; ``parameters`` are its values."""

    def __init__(self, audience: Audience, first: tuple[int, ...] = (), *, one_by_one: bool = False) -> None:
        """Begin; ``first`` are the values that the statement around it has as $1 and so on.

        ``one_by_one``: for a page of many; each is looked up, whatever the planner thinks of tables that have grown.
        """
        self.one_by_one = one_by_one
        self.audience = audience
        self.parameters = Parameters(list(first))
        self.tenant = self.parameters.add(audience.tenant_id, "bigint")
        self._compiling = Compiling(self.parameters, self.tenant, audience.now, audience.nested, one_by_one)

    @cached_property
    def _includes(self) -> str:
        return self._ids(self.audience.definition.include_lists)

    def _ids(self, ids: tuple[int, ...]) -> str:
        return self.parameters.add(list(ids), "bigint[]")

    def candidates(self, part: Window) -> str:
        """SELECT of ``contact_id``: who is looked at, in order; of lists alone the members, else all contacts."""
        after, window = self.parameters.add(part.after_id, "bigint"), self.parameters.add(part.rows, "bigint")
        if self.audience.definition.include_segments:
            return (
                f"SELECT c.id AS contact_id FROM contacts c WHERE c.tenant_id = {self.tenant} AND c.id > {after} "  # noqa: S608 - parameters
                f"ORDER BY c.id LIMIT {window}"
            )
        launched = self.parameters.add(self.audience.now, "timestamptz")
        return (
            f"SELECT DISTINCT w.contact_id FROM unnest({self._includes}) AS l(id) CROSS JOIN LATERAL ("  # noqa: S608 - parameters
            f"SELECT lm.contact_id FROM list_members lm WHERE lm.list_id = l.id AND lm.contact_id > {after} "
            f"AND (lm.state = 'subscribed' OR lm.updated_at > {launched} AND lm.state <> 'pending') "
            f"ORDER BY lm.contact_id LIMIT {window}) w ORDER BY w.contact_id LIMIT {window}"
        )

    def people(self, candidates: str, columns: str = "") -> str:
        """SELECT of ``contact_id``, ``reason`` ('' for who gets the mail) and ``columns``, of ``candidates``."""
        fence = " OFFSET 0" if self.one_by_one else ""
        lists = (  # of constants, columns and parameters
            f"CROSS JOIN LATERAL ({self._standing()} FROM list_members lm WHERE lm.contact_id = c.id) s"
            if self.one_by_one
            else f"LEFT JOIN ({self._standing(', lm.contact_id')} FROM list_members lm "  # noqa: S608 - parameters
            f"WHERE lm.contact_id IN (SELECT contact_id FROM {candidates}) GROUP BY lm.contact_id) s "
            "ON s.contact_id = c.id"
        )
        return (
            f"SELECT c.id AS contact_id{columns}, {self._reason()} AS reason FROM {candidates} w "  # noqa: S608 - parameters
            f"CROSS JOIN LATERAL (SELECT * FROM contacts c WHERE c.id = w.contact_id "
            f"AND c.tenant_id = {self.tenant}{fence}) c {lists} WHERE {self._included()}"
        )

    def _standing(self, more: str = "") -> str:
        """How somebody stands with the lists, one row of truths; NULL or no row: with none."""
        launched = self.parameters.add(self.audience.now, "timestamptz")
        topic = self.parameters.add(self.audience.list_id or 0, "bigint")
        included, subscribed = f"lm.list_id = ANY({self._includes})", "lm.state = 'subscribed'"
        evident = f"{subscribed} AND lm.consent <> 'unspecified'"
        excludes = self._ids(self.audience.definition.exclude_lists)
        return f"""SELECT bool_or({included} AND {subscribed}) AS on_included,
            bool_or({included} AND lm.state IN {LEFT_STATES} AND lm.updated_at > {launched}) AS left_included,
            bool_or({included} AND {evident}) AS evident_included, bool_or({subscribed}) AS anywhere,
            bool_or({evident}) AS evident, bool_or(lm.list_id = {topic} AND lm.state IN {LEFT_STATES}) AS left_topic,
            bool_or(lm.state IN {LEFT_STATES}) AS left_any, bool_or(lm.list_id = ANY({excludes})) AS excluded{more}"""

    def _included(self) -> str:
        segments = [self.segment(segment_id) for segment_id in self.audience.definition.include_segments]
        by_list = ["s.on_included", "s.left_included"] if self.audience.definition.include_lists else []
        return "(" + (" OR ".join(by_list + segments) or "false") + ")"

    def segment(self, segment_id: int) -> str:
        """The condition that ``c`` meets a segment."""
        return condition(Meets(segment_id), self._compiling)

    def sent(self, campaign_ids: tuple[int, ...]) -> str:
        """The condition that ``c`` was or will be sent one of these campaigns."""
        return self._compiling.exists(
            f"SELECT 1 FROM recipients r JOIN messages sm ON sm.id = r.message_id "  # noqa: S608 - parameters
            f"WHERE r.campaign_id = ANY({self._ids(campaign_ids)}) AND r.contact_id = c.id "
            f"AND r.tenant_id = {self.tenant} AND sm.state IN {SENT_OR_WILL_BE}"
        )

    def excluded(self) -> str:
        """The condition that an exclusion holds for ``c``, whose lists are ``s``; empty where there are none."""
        definition = self.audience.definition
        parts = ["s.excluded"] if definition.exclude_lists else []
        parts += [self.segment(segment_id) for segment_id in definition.exclude_segments]
        parts += [self.sent(definition.exclude_campaigns)] if definition.exclude_campaigns else []
        return f"({' OR '.join(parts)})" if parts else ""

    def _reason(self) -> str:
        audience = self.audience
        whens = [(self.excluded(), LeftOut.EXCLUDED)]
        evidence = ["NOT COALESCE(CASE WHEN s.on_included THEN s.evident_included ELSE s.evident END, false)"]
        nowhere = "NOT COALESCE(s.anywhere, false)"
        if audience.definition.include_segments:
            left = f"s.on_included IS NOT TRUE AND (s.left_topic OR s.left_included OR s.left_any AND {nowhere})"
        else:
            left = "s.on_included IS NOT TRUE"
        whens.append((left, LeftOut.UNSUBSCRIBED))
        topic = self.parameters.add(audience.list_id or 0, "bigint")
        whens += [
            (erased_sql(self.tenant, "c.address_key"), LeftOut.ERASED),
            (suppressed_sql(self.tenant, "c.address_key", topic), LeftOut.SUPPRESSED),
            (" OR ".join([nowhere, *(evidence if audience.needs_evidence else [])]), LeftOut.NO_CONSENT),
        ]
        if audience.same_content:
            whens.append((self.sent(audience.same_content), LeftOut.SAME_CONTENT))
        if audience.cap_campaigns:
            whens.append((self._capped(), LeftOut.FREQUENCY_CAP))
        return "CASE " + " ".join(f"WHEN {sql} THEN '{reason}'" for sql, reason in whens if sql) + " ELSE '' END"

    def _capped(self) -> str:
        audience, add = self.audience, self.parameters.add
        return (
            f"(SELECT count(*) FROM recipients r JOIN messages sm ON sm.id = r.message_id "  # noqa: S608 - parameters
            f"WHERE r.campaign_id = ANY({self._ids(audience.cap_campaigns)}) AND r.contact_id = c.id "
            f"AND r.tenant_id = {self.tenant} AND sm.state IN {SENT_OR_WILL_BE} "
            f"AND (sm.changed_at IS NULL OR sm.changed_at > {add(audience.cap_since, 'timestamptz')})) "
            f">= {add(audience.cap, 'bigint')}"
        )
