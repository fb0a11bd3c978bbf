"""What a template is after compilation: the parts to fill in, the links found in them, the fields they ask for.

Promises: ``CompiledTemplate`` is plain data that survives JSON unchanged, so a published version renders the same for
ever; reading it needs no template library.
Fails: ``CompiledTemplate.from_json`` raises ``ValueError`` for anything that ``to_json`` did not make.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

TRACK_VARIABLE = "_hb_track"
OPEN_VARIABLE = "_hb_open"
LINK_FUNCTION = "_hb_link"
RESERVED_PREFIX = "_hb"
"""Names with this prefix belong to the compiler; templates that use them are refused."""

SYSTEM_FIELDS = frozenset({"unsubscribe_url", "preferences_url", "confirm_url", "view_url"})
"""Fields that Hayabin provides: a template may use them, a contact need not have them.

``confirm_url`` is there in confirmation mails alone.
"""


class TemplateKind(StrEnum):
    """The language that a template's source is written in."""

    MJML = "mjml"
    HTML = "html"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """One thing to mend in a template.

    Shape: ``line`` and ``column`` count from 1 in the part that ``pointer`` (RFC 6901) names: ``/subject``, ``/source``
    or ``/text_source``.
    """

    line: int
    column: int | None
    pointer: str
    message: str


class TemplateInvalid(ValueError):
    """A template can not be compiled; carries every problem that was found, at most ``MAX_PROBLEMS``."""

    MAX_PROBLEMS = 50

    def __init__(self, errors: list[TemplateProblem]) -> None:
        """Keep the problems in the order of their places."""
        self.errors = sorted(errors, key=lambda problem: (problem.pointer, problem.line))[: self.MAX_PROBLEMS]
        super().__init__("; ".join(f"{e.pointer} line {e.line}: {e.message}" for e in self.errors))


@dataclass(frozen=True, slots=True)
class Link:
    """A tracked link: ``url`` is its destination, or for a dynamic link the template text of it, to show to people."""

    number: int
    url: str
    dynamic: bool


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """A template ready to be filled in: minijinja sources of the parts, with tracked links and open pixel in place.

    Shape: ``links[n].number == n``; ``fields`` are the top-level variables that a contact may have to provide, system
    fields included where they are used.
    """

    kind: TemplateKind
    subject: str
    html: str | None
    text: str
    links: tuple[Link, ...]
    fields: frozenset[str]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; field names sorted, so that the same template gives the same JSON."""
        return {**asdict(self), "links": [asdict(link) for link in self.links], "fields": sorted(self.fields)}

    @classmethod
    def from_json(cls, stored: dict[str, Any] | str | bytes) -> "CompiledTemplate":
        """What ``to_json`` made, as values or as JSON text.

        Raises:
            ValueError: it is something else.

        """
        values = json.loads(stored) if isinstance(stored, (str, bytes)) else stored
        try:
            links = tuple(
                Link(int(link["number"]), str(link["url"]), bool(link["dynamic"])) for link in values["links"]
            )
            html = values["html"]
            template = cls(
                TemplateKind(values["kind"]),
                str(values["subject"]),
                None if html is None else str(html),
                str(values["text"]),
                links,
                frozenset(map(str, values["fields"])),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a compiled template: {error!r}") from error
        if any(link.number != number for number, link in enumerate(links)):
            raise ValueError("not a compiled template: link numbers do not count from 0")
        return template
