"""The chain of the audit log: what a link is made of, and that nothing in it can be changed unseen."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hayabin.domain.audit_chain import ROOT, Break, Line, Link, broken, canonical, linked

LINE = Line(
    tenant_id=1, entry_id=10, at=datetime(2026, 11, 24, 9, 0, 0, 123, tzinfo=UTC), actor="key", key_id=7, user_id=None,
    action="launchCampaign", object_type="campaigns", object_id="21", trace_id="ab", ip="192.0.2.1",
    detail={"fields": ["a"], "made": 3},
)  # fmt: skip
OTHER: dict[str, Any] = {
    "tenant_id": 2, "entry_id": 11, "at": LINE.at + timedelta(microseconds=1), "actor": "operator", "key_id": None,
    "user_id": 1, "action": "pauseCampaign", "object_type": "lists", "object_id": "22", "trace_id": "", "ip": "",
    "detail": {"fields": ["a"], "made": 4},
}  # fmt: skip


def test_canonical_form_is_that_of_every_release() -> None:
    """A chain that was written today has to hold for ever: these bytes never change."""
    assert canonical(5, LINE) == (
        b'["hayabin-audit-1",1,5,10,"2026-11-24T09:00:00.000123+00:00","key",7,null,"launchCampaign","campaigns","21",'
        b'"ab","192.0.2.1",{"fields":["a"],"made":3}]'
    )
    assert linked(ROOT, 5, LINE).hex() == "2e2acad855ec2a0942d2aae0917e74697cc3eacea6a84cbc1d58bf73395b655d"


def test_time_zone_and_order_of_members_do_not_matter() -> None:
    """The database gives the same moment in any zone, and the members of an object in any order."""
    moved = replace(LINE, at=LINE.at.astimezone(timezone(timedelta(hours=9))), detail={"made": 3, "fields": ["a"]})
    assert canonical(5, moved) == canonical(5, LINE)


@pytest.mark.parametrize("name", [field.name for field in fields(Line)])
def test_every_field_of_a_line_is_in_its_hash(name: str) -> None:
    """A field that is changed breaks the link."""
    link = Link(1, ROOT, linked(ROOT, 1, LINE), LINE)
    assert broken(link, 0, ROOT) is None
    found = broken(replace(link, line=replace(LINE, **{name: OTHER[name]})), 0, ROOT)
    assert found is not None
    assert (found.what, found.seq) == (Break.CHANGED, 1)


@given(st.lists(st.text(max_size=5), min_size=2, max_size=12), st.data())
def test_any_line_taken_out_put_in_or_moved_is_found(actions: list[str], data: st.DataObject) -> None:
    """Whatever is done to the lines between the first and the last, the chain does not hold any more."""
    chain: list[Link] = []
    for number, action in enumerate(actions, 1):
        before = chain[-1].hash if chain else ROOT
        line = replace(LINE, action=action, entry_id=number)
        chain.append(Link(number, before, linked(before, number, line), line))
    assert _holds(chain)
    at = data.draw(st.integers(0, len(chain) - 2))
    assert not _holds(chain[:at] + chain[at + 1 :])
    assert not _holds([*chain[:at], chain[at + 1], chain[at], *chain[at + 2 :]])
    assert not _holds([*chain[: at + 1], chain[at], *chain[at + 1 :]])
    forged = replace(chain[at].line, action="x" + chain[at].line.action)
    again = Link(at + 1, chain[at].prev_hash, linked(chain[at].prev_hash, at + 1, forged), forged)
    assert not _holds([*chain[:at], again, *chain[at + 1 :]])


def _holds(chain: list[Link]) -> bool:
    seq, hash_ = 0, ROOT
    for link in chain:
        if broken(link, seq, hash_) is not None:
            return False
        seq, hash_ = link.seq, link.hash
    return True
