"""Which column of a file is what: suggested from its name, or said by the user.

Promises: names are compared without regard to width (NFKC), case, spaces and signs; ``suggest`` gives every column one
target with a score from 0 to 1, and no target of a contact twice; ``Automatic`` takes what is certain (score 1) alone,
so an upload without a mapping is read as ever. Time is bounded by the number and length of names.
Fails: ``FileRefused`` for a mapping that does not fit the header; the message says what to send.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from services.api.imports.contact_rows import MAX_COLUMNS, FileRefused


class Target(StrEnum):
    """What a column can be; besides, ``attribute:NAME``."""

    EMAIL = "email"
    NAME = "name"
    LOCALE = "locale"
    STAGE = "stage"
    TIME_ZONE = "time_zone"
    CONSENTED_AT = "consented_at"
    SKIP = "skip"


_TARGETS: Final = frozenset(target.value for target in Target)
ATTRIBUTE: Final = "attribute:"
LIKELY: Final = 0.7
"""A suggestion with a lower score is none: the column becomes an attribute of its own name."""
_LIKE_CHARS: Final = 40
"""Longer names are compared as a whole."""
_WORDS: Final[Mapping[Target, tuple[str, ...]]] = {
    Target.EMAIL: ("email", "e-mail", "mail", "address", "mail address", "email address", "メールアドレス", "メール",
                   "アドレス", "電子メール", "eメール", "eメールアドレス", "メアド"),
    Target.NAME: ("name", "full name", "氏名", "名前", "お名前", "姓名", "フルネーム", "contact name", "担当者名"),
    Target.LOCALE: ("locale", "language", "lang", "言語", "ロケール"),
    Target.STAGE: ("stage", "deal stage", "商談の段階", "商談段階", "段階", "ステージ", "商談ステージ", "フェーズ"),
    Target.TIME_ZONE: ("time zone", "timezone", "タイムゾーン", "時間帯"),
    Target.CONSENTED_AT: ("consented at", "consent date", "opt in date", "subscribed at", "同意日", "同意日時",
                          "登録日時", "オプトイン日", "許諾日"),
}  # fmt: skip
_CERTAIN: Final = frozenset({
    "email", "e-mail", "mail", "address", "メールアドレス", "メール", "アドレス",
    "name", "氏名", "名前", "お名前", "full name", "locale", "language", "言語",
    "stage", "商談の段階", "段階", "ステージ", "timezone", "time_zone", "time zone", "タイムゾーン",
})  # fmt: skip
"""Names (in lower case) that mean their target also where nobody looked at a suggestion."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a column seems to be."""

    column: str
    target: str
    score: float


@dataclass(frozen=True, slots=True)
class KnownAttribute:
    """An attribute that the tenant has defined."""

    name: str
    labels: tuple[str, ...] = ()


def normalised(name: str) -> str:
    """A name without what people write differently: width, case, spaces, signs."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum() or character == "ー")


_BY_NAME: Final = {normalised(word): target for target, words in _WORDS.items() for word in words}
_CERTAIN_NAMES: Final = {word: _BY_NAME[normalised(word)] for word in _CERTAIN}


class Automatic:
    """The targets of columns whose names leave no doubt; everything else is an attribute of its own name."""

    def __init__(self, known: Iterable[KnownAttribute] = ()) -> None:
        """Look at what is defined; once for a file, whose objects may have ever new names."""
        self._own = {a.name for a in known}
        self._words = {normalised(word): a.name for a in known for word in (*a.labels, a.name) if normalised(word)}

    def targets(self, names: Sequence[str]) -> list[str]:
        """One for each column."""
        targets: list[str] = []
        for name in names:
            certain = _CERTAIN_NAMES.get(name.strip().lower())
            attribute = name if name in self._own else self._words.get(normalised(name), name)
            if attribute != name and (attribute in names or f"{ATTRIBUTE}{attribute}" in targets):
                attribute = name
            targets.append(certain.value if certain and name not in self._own else f"{ATTRIBUTE}{attribute}")
        return targets


def suggest(names: Sequence[str], known: Sequence[KnownAttribute] = ()) -> list[Suggestion]:
    """A target for each column, the best first served; what resembles nothing is an attribute of its own name."""
    words: dict[str, str] = {word: target.value for word, target in _BY_NAME.items()}
    for attribute in known:
        for word in (*attribute.labels, attribute.name):
            words[normalised(word)] = f"{ATTRIBUTE}{attribute.name}"
    words.pop("", None)
    found = [(max(_candidates(normalised(name), words)), at) for at, name in enumerate(names[:MAX_COLUMNS])]
    taken: set[str] = set()
    chosen: dict[int, Suggestion] = {}
    for (score, target), at in sorted(found, key=lambda one: (-one[0][0], one[1])):
        own = f"{ATTRIBUTE}{names[at]}"
        if score < LIKELY or target in taken:
            chosen[at] = Suggestion(names[at], own if own not in taken else Target.SKIP.value, 0.0)
        else:
            chosen[at] = Suggestion(names[at], target, round(score, 2))
        taken.add(chosen[at].target)
    return [chosen[at] for at in sorted(chosen)]


def _candidates(name: str, words: Mapping[str, str]) -> Iterable[tuple[float, str]]:
    if name in words:
        return [(1.0, words[name])]
    return [(0.0, ""), *((_likeness(name, word), target) for word, target in words.items())]


def _likeness(one: str, other: str) -> float:
    """From 0 to 1: by the edits that lead from one to the other; 0 where there are too many to be a slip."""
    longer = max(len(one), len(other))
    most = 1 if longer < 6 else 2
    if longer < 3 or longer > _LIKE_CHARS:
        return 0.0
    edits = edit_distance(one, other, most)
    return 1 - edits / longer if edits <= most else 0.0


def edit_distance(one: str, other: str, most: int) -> int:
    """Insertions, deletions and replacements (Levenshtein); ``most + 1`` for more than ``most``.

    Time: ``most`` times the length, as only what is so near to the diagonal is looked at (Ukkonen).
    """
    beyond = most + 1
    if abs(len(one) - len(other)) > most:
        return beyond
    row = list(range(len(other) + 1))
    for number, character in enumerate(one, 1):
        first, last = max(1, number - most), min(len(other), number + most)
        diagonal, row[first - 1] = row[first - 1], number if first == 1 else beyond
        best = row[first - 1]
        for at in range(first, last + 1):
            above = row[at] if at < number + most else beyond
            edits = min(above + 1, row[at - 1] + 1, diagonal + (character != other[at - 1]))
            diagonal, row[at] = row[at], edits
            best = min(best, edits)
        if best > most:
            return beyond
    return min(row[-1], beyond)


def said(names: Sequence[str], mapping: Mapping[str, str]) -> list[str]:
    """The targets of a mapping given by the user; columns that it does not name are skipped.

    Raises:
        FileRefused: it names a column that is not there.
    """
    missing = [column for column in mapping if column not in names]
    if missing:
        raise FileRefused(f"The mapping names a column `{missing[0][:100]}`; the header has: {', '.join(names)[:300]}")
    return [mapping.get(name, Target.SKIP.value) for name in names]


def check_mapping(mapping: Mapping[str, str]) -> str | None:
    """What is wrong with a mapping, as a sentence, whatever the file; None: nothing."""
    targets = [target for target in mapping.values() if target != Target.SKIP]
    for target in targets:
        attribute = target.removeprefix(ATTRIBUTE)
        if target not in _TARGETS and (attribute == target or not is_column_name(attribute)):
            return f"`{target[:100]}` is no target: give one of {', '.join(Target)}, or attribute:NAME."
    twice = sorted({target for target in targets if targets.count(target) > 1})
    if twice:
        return f"Two columns are mapped to `{twice[0][:100]}`; each target takes one."
    if targets.count(Target.EMAIL) != 1:
        return "One column has to be mapped to `email`."
    return None


def is_column_name(name: str) -> bool:
    """Whether a column, or an attribute, can have that name."""
    return 0 < len(name) <= 100 and not name.startswith("_hb") and name.isprintable()
