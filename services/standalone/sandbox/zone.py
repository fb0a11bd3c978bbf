"""What the sandbox's DNS answers: every domain's mail comes to the sandbox, beside what was published in the zone file.

Promises: a published name is answered from the file as it is now (it is read again when it changes); an MX answer for
any other domain leads to one of the sandbox's addresses, never out of the machine; ``NULL_MX`` takes no mail (RFC
7505) and names below ``.invalid`` do not exist (RFC 6761 §6.4).

The file is JSON: ``{"name": {"TXT": ["text", …], "MX": ["10 host.", …]}}``.
"""

import json
from collections.abc import Mapping
from pathlib import Path

ANY_DOMAIN = ("10 mx1.sandbox.test.", "20 mx2.sandbox.test.")
NULL_MX = "nullmx.example"
MISSING_SUFFIX = ".invalid"
MX_BY_SUFFIX: Mapping[str, tuple[str, ...]] = {
    "docomo.ne.jp": ("10 mfsmax.docomo.ne.jp.",),
    "ezweb.ne.jp": ("10 lsean.ezweb.ne.jp.",),
    "softbank.ne.jp": ("10 mx.softbank.ne.jp.",),
    "workspace.example": ("10 aspmx.l.google.com.", "20 alt1.aspmx.l.google.com."),
    NULL_MX: ("0 .",),
}
"""MX hosts in the form of the real providers' ones, so that lanes are rolled up by MX as in production."""
ADDRESSES: Mapping[str, str] = {
    "mx1.sandbox.test": "127.0.0.21",
    "mx2.sandbox.test": "127.0.0.22",
    "mfsmax.docomo.ne.jp": "127.0.0.23",
    "lsean.ezweb.ne.jp": "127.0.0.24",
    "mx.softbank.ne.jp": "127.0.0.25",
    "aspmx.l.google.com": "127.0.0.26",
    "alt1.aspmx.l.google.com": "127.0.0.27",
}

Records = dict[str, dict[str, list[str]]]


class Zone:
    """The zone file and the rules for all other names."""

    def __init__(self, path: Path) -> None:
        """Read from ``path``, which may not exist yet."""
        self._path = path
        self._published: Records = {}
        self._stamp: tuple[int, int] | None = None

    def answer(self, name: str, kind: str) -> list[str] | None:
        """The records of a name in presentation form; an empty list for none of that type, None for no such name."""
        name = name.lower().rstrip(".")
        published = self._read().get(name)
        if published is not None:
            return list(published.get(kind, ()))
        if name.endswith(MISSING_SUFFIX) or any(label.startswith("_") for label in name.split(".")):
            return None
        match kind:
            case "MX" if name not in ADDRESSES:
                return list(_mx_of(name))
            case "A":
                return [ADDRESSES[name]] if name in ADDRESSES else []
            case _:
                return []

    def _read(self) -> Records:
        """The file's content, read again where the file is another one than last time."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return {}
        stamp = (found.st_ino, found.st_mtime_ns)
        if stamp != self._stamp:
            self._published = json.loads(self._path.read_text(encoding="utf-8"))
            self._stamp = stamp
        return self._published


def publish(path: Path, records: Records) -> None:
    """Add records to the zone file, replacing what it has for the same names."""
    current: Records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    current.update({name.lower().rstrip("."): dict(kinds) for name, kinds in records.items()})
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(current, indent=2), encoding="utf-8")
    unfinished.rename(path)


def _mx_of(domain: str) -> tuple[str, ...]:
    for suffix, hosts in MX_BY_SUFFIX.items():
        if domain == suffix or domain.endswith(f".{suffix}"):
            return hosts
    return ANY_DOMAIN
