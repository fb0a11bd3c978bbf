"""Writes ``contacts.csv``: 2,000 rows of invented people, the same on every machine.

Promises: nobody real is named. Domains are reserved ones (RFC 2606, RFC 6761, and JPRS's ``example.jp``), except at the
three mobile carriers, whose odd dots the demo has to show: there the local parts are longer than the 30 characters that
the carriers allow, so that nobody can own them. The first 200 rows have every kind of row that the file has.

Run as ``python -m services.standalone.sample.make_contacts``.
"""

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

Choice = TypeVar("Choice", str, tuple[str, str])

PATH = Path(__file__).with_name("contacts.csv")
ROWS = 2000
HEADER = ("email", "name", "company", "plan", "points", "since", "topics", "coupon")

FAMILIES = (
    ("佐藤", "sato"), ("鈴木", "suzuki"), ("高橋", "takahashi"), ("田中", "tanaka"), ("伊藤", "ito"),
    ("渡辺", "watanabe"), ("山本", "yamamoto"), ("中村", "nakamura"), ("小林", "kobayashi"), ("加藤", "kato"),
    ("吉田", "yoshida"), ("山田", "yamada"), ("佐々木", "sasaki"), ("齋藤", "saito"), ("髙島", "takashima"),
)  # fmt: skip
GIVENS = (
    ("太郎", "taro"), ("花子", "hanako"), ("蓮", "ren"), ("陽葵", "himari"), ("湊", "minato"), ("凛", "rin"),
    ("さくら", "sakura"), ("大翔", "hiroto"), ("結衣", "yui"), ("悠真", "yuma"), ("葵", "aoi"), ("𠮷郎", "yoshiro"),
)  # fmt: skip
OTHERS = (
    ("Aoife O'Brien", "aoife.obrien"), ("Smith, John", "john.smith"), ("Zoë Müller", "zoe.mueller"),
    ('Bob "Bobby" Lee', "bobby.lee"), ("Nguyễn Thị Hoa", "hoa.nguyen"), ("김민준", "minjun.kim"), ("王芳", "fang.wang"),
    ("Łukasz Żak", "lukasz.zak"), ("José Núñez", "jose.nunez"), ("A & B <Trading>", "trading"),
)  # fmt: skip
DOMAINS = (
    "example.jp", "example.co.jp", "example.com", "example.net", "example.org", "sakura.example", "midori.example",
    "shop.workspace.example", "office.workspace.example", "お茶.example",
)  # fmt: skip
CARRIERS = ("docomo.ne.jp", "ezweb.ne.jp", "softbank.ne.jp")
COMPANIES = ("", "株式会社サンプル商事", "有限会社みどり園", "例示工業㈱", "Example Trading Ltd.", "二行の会社\n営業部")
PLANS = ("free", "free", "standard", "standard", "premium")
TOPICS = ("新茶", "和菓子", "茶器", "抹茶", "Matcha", "Teaware", "Events")
INVALID = (
    "", "no-at-sign.example.jp", "two@at@example.jp", "dots..here@example.jp", "space inside@example.com",
    "全角＠example.jp", "taro@localhost", "a@example.com,b@example.com", "Taro <taro@example.jp>", "@example.jp",
    "trailing.dot.@example.com", "taro@exa_mple.jp", "（株）@example.jp", "taro@-bad.example",
)  # fmt: skip
EVERY_INVALID = 71
EVERY_REPEATED = 397
EVERY_CARRIER = 5
UNREACHABLE = ("nullmx.example", "nowhere.invalid")
EVERY_UNREACHABLE = 83
COMPLAINER = 42


def rows() -> Iterator[tuple[str, ...]]:
    """Every row, without the header."""
    for number in range(1, ROWS + 1):
        name, stem = _person(number)
        yield (_address(number, stem), name, *_attributes(number))


def as_csv() -> str:
    """The file's text: UTF-8 when written, LF line ends, quoted where needed."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(rows())
    return target.getvalue()


def _address(number: int, stem: str) -> str:
    if number % EVERY_INVALID == 0:
        return INVALID[number // EVERY_INVALID % len(INVALID)]
    if number % EVERY_REPEATED == 0:
        number -= 6  # somebody a few rows up, a second time
        stem = _person(number)[1]
    if number == COMPLAINER:
        return "complaint+hanako@example.jp"
    if number % EVERY_UNREACHABLE == 0:
        return f"{stem}.{number:04}@{UNREACHABLE[number // EVERY_UNREACHABLE % len(UNREACHABLE)]}"
    if number % EVERY_CARRIER == 0:
        return _carrier_address(number, stem)
    return f"{stem}.{number:04}@{_pick(number, 'domain', DOMAINS)}"


def _carrier_address(number: int, stem: str) -> str:
    """A mobile address, most with the dots that only the carriers allowed."""
    local = f"{stem}.hayabin.sample.nobody.{number:04}"
    shapes = (local.replace(".hayabin", "..hayabin"), f"{local}.", f".{local}", local)
    shape = _pick(number, "shape", shapes)
    return f"{shape.ljust(31, '-') if not shape.endswith('.') else shape}@{_pick(number, 'carrier', CARRIERS)}"


def _person(number: int) -> tuple[str, str]:
    """A name and what it makes of a local part."""
    if _draw(number, "foreign") % 5 == 0:
        return _pick(number, "other", OTHERS)
    family, given = _pick(number, "family", FAMILIES), _pick(number, "given", GIVENS)
    return f"{family[0]} {given[0]}", f"{given[1]}.{family[1]}"


def _attributes(number: int) -> tuple[str, ...]:
    plan = _pick(number, "plan", PLANS)
    wanted = [topic for at, topic in enumerate(TOPICS) if _draw(number, "topics") >> at & 1]
    since = (
        f"{2015 + _draw(number, 'year') % 11}-{1 + _draw(number, 'month') % 12:02}-{1 + _draw(number, 'day') % 28:02}"
    )
    coupon = f"TEA-{_draw(number, 'coupon') % 10_000:04}" if plan == "premium" else ""
    points = str(_draw(number, "points") % 5000)
    return (_pick(number, "company", COMPANIES), plan, points, since, ";".join(wanted), coupon)


def _pick(number: int, what: str, choices: Sequence[Choice]) -> Choice:
    return choices[_draw(number, what) % len(choices)]


def _draw(number: int, what: str) -> int:
    """A number that belongs to the row, another one for each use."""
    digest = hashlib.blake2b(f"{number} {what}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


if __name__ == "__main__":
    PATH.write_text(as_csv(), encoding="utf-8", newline="\n")
