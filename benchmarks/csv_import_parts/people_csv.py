"""The file that is imported: people as a company in Japan exports them.

Promises: the same call writes the same file. Every row can be imported; one of ``AGAIN_EVERY`` repeats an address of
further up in other letters and with another company, so that the last row of an address has to win.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HEADER = "email,name,company,prefecture,joined,visits\n"
DEFINITIONS = {"joined": "date", "visits": "number"}
"""The attributes that are defined; the others are free."""
DOMAINS = 2000
AGAIN_EVERY = 50
_PREFECTURES = ("東京都", "大阪府", "北海道", "福岡県", "愛知県", "京都府", "沖縄県")
_LINES_AT_A_TIME = 10_000


@dataclass(frozen=True, slots=True)
class PeopleFile:
    """A written file, and how many different addresses it has."""

    path: Path
    rows: int
    addresses: int

    @property
    def size_bytes(self) -> int:
        """How large it is."""
        return self.path.stat().st_size


def write_people(path: Path, rows: int) -> PeopleFile:
    """Write a file of so many rows after its header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(HEADER)
        for first in range(0, rows, _LINES_AT_A_TIME):
            file.write("".join(_lines(first, min(first + _LINES_AT_A_TIME, rows))))
    return PeopleFile(path, rows, rows - sum(1 for n in range(rows) if _repeats(n)))


def _lines(first: int, end: int) -> Iterator[str]:
    for n in range(first, end):
        person = n // 2 if _repeats(n) else n
        local = f"taro.yamada{person}"
        shown = local.upper() if _repeats(n) else local
        yield (
            f"{shown}@mail{person % DOMAINS}.example.jp,山田 太郎{person},サンプル商事{n % 997},"
            f"{_PREFECTURES[n % len(_PREFECTURES)]},{2000 + n % 25}-{n % 12 + 1:02}-{n % 28 + 1:02},{n % 89}\n"
        )


def _repeats(n: int) -> bool:
    """Tell whether row ``n`` repeats an address: that of row ``n`` // 2, which is no repetition itself."""
    return n % AGAIN_EVERY == AGAIN_EVERY - 1 and (n // 2) % AGAIN_EVERY != AGAIN_EVERY - 1 and n > 1
