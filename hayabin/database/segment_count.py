"""The statement that counts whom a segment finds.

Promises: what it reads, it reads whole and in several processes, where the planner lets it: tables are joined rather
than looked up, and contacts are not read where a list and what people did say all (``benchmarks/out/segments.json`` has
the plans). It finds exactly whom ``segments.where`` finds.
Fails: as ``segment_sql``.
"""

from collections.abc import Iterator
from datetime import datetime

from hayabin.database.segment_compiling import Compiling, Parameters
from hayabin.database.segment_sql import condition, membership
from hayabin.domain.segment import All, Attribute, Comparison, Did, Loaded, Meets, OnList, Rule
from hayabin.domain.segment_rules import walk


def count_sql(loaded: Loaded, tenant_id: int, now: datetime) -> tuple[str, Parameters]:
    """The statement that counts, and its values."""
    joined: list[str] = []
    parameters = Parameters()
    tenant = parameters.add(tenant_id, "bigint")
    to = Compiling(parameters, tenant, now, loaded.nested, joined=joined)
    rules = list(_all_of(loaded.rule, to))
    source, ours = "contacts c", f"c.tenant_id = {tenant}"
    members = next((rule for rule in rules if isinstance(rule, OnList) and rule.list_id is not None), None)
    if members is not None and not any(isinstance(one, Comparison) for one in _everything(loaded)):
        rules.remove(members)
        its_tenant = f"(SELECT l.tenant_id FROM lists l WHERE l.id = {parameters.add(members.list_id, 'bigint')})"  # noqa: S608 - see segment_sql
        source = f"(SELECT lm.contact_id AS id FROM list_members lm WHERE {membership(members, to)}) c"  # noqa: S608 - see segment_sql
        ours = f"{its_tenant} = {tenant}"
    meets = " AND ".join([ours, *(condition(rule, to) for rule in rules)])
    return f"SELECT count(*) FROM {' '.join([source, *joined])} WHERE {meets}", parameters  # noqa: S608 - see segment_sql


def takes_hashes(loaded: Loaded) -> bool:
    """Whether whole tables of the tenant are read anyway, so that nobody is to be looked up one by one.

    The planner cannot know how many people a rule leaves. It does where campaigns are named, and rules about any list
    would read other tenants' members.
    """
    rules = list(_everything(loaded))
    if any(isinstance(one, Did) and isinstance(one.value, tuple) for one in rules):
        return False
    of_attributes = any(isinstance(one, Comparison) and isinstance(one.subject, Attribute) for one in rules)
    return of_attributes or not any(isinstance(one, OnList) and one.list_id is None for one in rules)


def _everything(loaded: Loaded) -> Iterator[Rule]:
    for rule in (loaded.rule, *loaded.nested.values()):
        yield from walk(rule)


def _all_of(rule: Rule, to: Compiling) -> Iterator[Rule]:
    """Rules that all must be met, for the rule to be."""
    match rule:
        case All(rules):
            for inner in rules:
                yield from _all_of(inner, to)
        case Meets(segment_id):
            yield from _all_of(to.nested[segment_id], to)
        case _:
            yield rule
