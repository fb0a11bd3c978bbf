"""Rules of a segment → an SQL condition on a row of ``contacts``.

Promises: nothing of a tenant's stands in the SQL: values, names of attributes, ids and times are parameters, all else
is text of these modules. The condition names the tenant wherever a table has it. What is missing meets no comparison; a
negation (``not``, ``not_equals`` …) is true exactly where the rule is not.
Fails: ``KeyError`` for a segment that is not among ``nested``; whoever loads them has looked (``segments``).

Comparisons of attributes and fields are in ``segment_comparisons``, the counting of all is in ``segment_count``.
"""

from dataclasses import replace
from typing import Any, Final, assert_never

from hayabin.database.segment_comparisons import compared
from hayabin.database.segment_compiling import Compiling
from hayabin.domain.segment import Activity, All, AnyOf, Comparison, Did, Meets, Not, OnList, Op, Rule

RECEIVED_STATES: Final = "('accepted', 'complained', 'unknown')"
"""States of a message that a contact received, or may have."""
_TIMES = {Activity.RECEIVED: "last_received_at", Activity.OPENED: "last_opened_at", Activity.CLICKED: "last_clicked_at"}
_CONTRARY = {
    Op.NOT_EQUALS: Op.EQUALS, Op.NOT_IN: Op.IN, Op.IS_NOT_SET: Op.IS_SET, Op.NOT_WITHIN_LAST_DAYS: Op.WITHIN_LAST_DAYS,
    Op.CONTAINS_NONE: Op.CONTAINS_ANY, Op.NEVER: Op.EVER, Op.NOT_IN_CAMPAIGNS: Op.IN_CAMPAIGNS,
}  # fmt: skip


def condition(rule: Rule, to: Compiling) -> str:
    """SQL that is true for the rows ``c`` of ``contacts`` that meet the rule, and false or NULL for the others."""
    match rule:
        case All(rules):
            return "(" + " AND ".join(condition(inner, to) for inner in rules) + ")"
        case AnyOf(rules):
            return "(" + " OR ".join(condition(inner, replace(to, either=True)) for inner in rules) + ")"
        case Not(inner):
            single = isinstance(inner, OnList | Did)  # NOT EXISTS is joined as well
            return _contrary(condition(inner, to if single else replace(to, either=True)))
        case Meets(segment_id):
            return condition(to.nested[segment_id], to)
        case OnList():
            return _on_list(rule, to)
        case Did(activity, op, value) if op in _CONTRARY:
            return _contrary(_did(activity, _CONTRARY[op], value, to))
        case Did(activity, op, value):
            return _did(activity, op, value, to)
        case Comparison(subject, kind, op, value) if op in _CONTRARY:
            return _contrary(compared(Comparison(subject, kind, _CONTRARY[op], value), to))
        case Comparison():
            return compared(rule, to)
        case _:
            assert_never(rule)


def _contrary(sql: str) -> str:
    """True where ``sql`` is false or NULL; EXISTS is never NULL, and NOT EXISTS is what the planner joins by."""
    return f"(NOT {sql})" if sql.startswith("EXISTS (") else f"(({sql}) IS NOT TRUE)"


def _on_list(rule: OnList, to: Compiling) -> str:
    return to.has("list_members lm", "lm.contact_id", membership(rule, to), single=rule.list_id is not None)


def membership(rule: OnList, to: Compiling) -> str:
    """The condition on a row ``lm`` of ``list_members``."""
    add = to.parameters.add
    only = "" if rule.list_id is None else f"lm.list_id = {add(rule.list_id, 'bigint')} AND "
    match rule.op:
        case Op.STATE_IN:
            what = f"lm.state = ANY({add(list(rule.values), 'text[]')})"
        case Op.CONSENT_IN:
            what = f"lm.state = 'subscribed' AND lm.consent = ANY({add(list(rule.values), 'text[]')})"
        case _:
            what = "lm.state = 'subscribed' AND lm.consent <> 'unspecified'"
    return only + what


def _did(activity: Activity, op: Op, value: Any, to: Compiling) -> str:
    if op is Op.IN_CAMPAIGNS:
        return _in_campaigns(activity, list(value), to)
    since = "IS NOT NULL" if op is Op.EVER else f">= {to.ago(value)}"
    of_tenant = f"ca.tenant_id = {to.tenant} AND ca.{_TIMES[activity]} {since}"
    return to.has("contact_activity ca", "ca.contact_id", of_tenant)


def _in_campaigns(activity: Activity, campaign_ids: list[int], to: Compiling) -> str:
    match activity:
        case Activity.RECEIVED:
            proof = f"JOIN messages rm ON rm.id = r.message_id AND rm.state IN {RECEIVED_STATES}"
        case Activity.OPENED:
            proof = "JOIN engagements g ON g.message_id = r.message_id AND g.kind = 'open'"
        case Activity.CLICKED:
            proof = "JOIN engagements g ON g.message_id = r.message_id AND g.kind = 'click'"
        case _:
            assert_never(activity)
    of_campaigns = f"r.tenant_id = {to.tenant} AND r.campaign_id = ANY({to.parameters.add(campaign_ids, 'bigint[]')})"
    return to.has(f"recipients r {proof}", "r.contact_id", of_campaigns, single=False)
