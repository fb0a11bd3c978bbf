"""The people of the demo, the sample that names them, and what a state folder remembers."""

import csv
import json
import socket
import stat
from email.message import EmailMessage
from pathlib import Path

import pytest

from hayabin.domain.address import AddressInvalid, parse_address
from services.standalone.kept import keep_ports, keep_secrets
from services.standalone.recipients import RecipientFailed, clicks, opens, read_letter, unsubscribes
from services.standalone.sample import make_contacts
from services.standalone.sandbox.behaviour import Behaviour, behaviour_of
from services.standalone.sandbox.journal import Entry, What

TRACKER = "http://127.0.0.1:8081"
ENTRY = Entry(What.ACCEPTED, "accept+1@there.example", "b-x@return.test", "250", mail=7)
HTML = (
    f'<a href="{TRACKER}/c/tok/0">one</a> <a href="https://other.example/">untracked</a>'
    f'<img src="https://other.example/logo.png"><img src="{TRACKER}/o/tok" width="1" height="1">'
)


def letter_mail(html: str = HTML, post: str = "List-Unsubscribe=One-Click") -> bytes:
    """A mail as the recipients expect it."""
    mail = EmailMessage()
    mail["To"] = '"佐藤 花子" <accept+1@there.example>'
    mail["Subject"] = "茶便り"
    mail["List-Unsubscribe"] = f"<mailto:u@x.test>, <{TRACKER}/u/tok>"
    mail["List-Unsubscribe-Post"] = post
    mail.set_content("text")
    mail.add_alternative(html, subtype="html")
    return mail.as_bytes()


def test_read_letter_finds_what_a_recipient_acts_by() -> None:
    """Pixel, tracked links and the one-click URL come out of the mail; other links and images do not count."""
    letter = read_letter(ENTRY, letter_mail(), TRACKER)
    assert (letter.subject, letter.to_name) == ("茶便り", "佐藤 花子")
    assert letter.pixel == f"{TRACKER}/o/tok"
    assert letter.links == (f"{TRACKER}/c/tok/0",)
    assert letter.unsubscribe == f"{TRACKER}/u/tok"


@pytest.mark.parametrize(
    "content",
    [letter_mail("<p>no links</p>"), letter_mail(HTML + HTML), letter_mail(post="something else")],
    ids=["no pixel", "two pixels", "no one-click"],
)
def test_read_letter_without_what_was_promised_fails(content: bytes) -> None:
    """The demo does not go on with a mail that a recipient could not act by."""
    with pytest.raises(RecipientFailed):
        read_letter(ENTRY, content, TRACKER)


def test_sample_committed_file_is_what_the_script_makes() -> None:
    """The CSV is never edited by hand."""
    assert make_contacts.PATH.read_text(encoding="utf-8") == make_contacts.as_csv()


@pytest.mark.parametrize("count", [200, 2000])
def test_sample_has_every_kind_of_recipient(count: int) -> None:
    """Also the first 200 rows show all behaviours, invalid rows, odd dots, and people who open, click, unsubscribe."""
    with make_contacts.PATH.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == make_contacts.ROWS
    addresses, invalid = [], 0
    for row in rows[:count]:
        try:
            addresses.append(parse_address(row["email"]))
        except AddressInvalid:
            invalid += 1
    wires = [address.wire for address in addresses]
    assert {behaviour_of(wire) for wire in wires} == set(Behaviour)
    assert sum(behaviour_of(wire) is Behaviour.COMPLAINT for wire in wires) == 1
    assert invalid >= 2
    assert any(wire.startswith('"') for wire in wires)
    assert {"nullmx.example", "nowhere.invalid"} <= {address.domain for address in addresses}
    for does in (opens, clicks, unsubscribes):
        assert any(does(wire) for wire in wires)


def test_sample_carrier_addresses_can_belong_to_nobody() -> None:
    """At the real carriers' domains every local part is longer than the 30 characters that they allow."""
    for email, *_ in make_contacts.rows():
        local, _, domain = email.rpartition("@")
        assert domain not in make_contacts.CARRIERS or len(local) > 30
        reserved = domain.endswith((".example", ".invalid")) or domain.startswith("example.")
        assert reserved or domain in make_contacts.CARRIERS or email in make_contacts.INVALID


def test_keep_secrets_second_run_has_the_same_ones_in_a_closed_file(tmp_path: Path) -> None:
    """Secrets survive, are not readable by others and do not show in a representation."""
    path = tmp_path / "secrets.json"
    first = keep_secrets(path)
    assert keep_secrets(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.master_key not in repr(first)
    path.write_text('{"master_key": 1}', encoding="utf-8")
    with pytest.raises(ValueError, match="--fresh"):
        keep_secrets(path)


def test_keep_ports_taken_port_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    """A port of the last run is kept while it is free."""
    path = tmp_path / "ports.json"
    first = keep_ports(path, {"a": 0, "b": 0})
    assert len(set(first.values())) == 2
    with socket.create_server(("127.0.0.1", first["a"])):
        second = keep_ports(path, {"a": 0, "b": 0})
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]
    assert json.loads(path.read_text(encoding="utf-8")) == second
