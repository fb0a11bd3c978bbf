"""Checks MJML and turns it into HTML.

Promises: the author learns of every unknown element and attribute, every element that stands where it may not and every
one that is not closed, with its line; mrml itself lets most of that pass in silence. Nothing is loaded from anywhere.
Fails: by returning problems. Depth, number of elements and size of shared attributes are bounded before mrml sees the
source: it recurses without limit, and writes shared attributes out for each element.
"""

import re
from dataclasses import dataclass, field

import mrml

from hayabin.content.markup import RAW_TAGS, VOID_TAGS, MarkupToken, TokenKind, read_markup
from hayabin.content.mjml_tags import MJML_TAGS
from hayabin.content.placeholder import ProtectedSource

DEPTH_MAX = 100
ELEMENTS_MAX = 3000
SHARED_ATTRIBUTES_MAX_CHARS = 16_384

_POSITION = re.compile(r"at position ([0-9]+):([0-9]+)")
_OPTIONS = mrml.RenderOptions(fonts={})  # no web font is loaded that the template did not ask for


@dataclass(frozen=True, slots=True)
class MarkupProblem:
    """Something to mend; ``offset`` is in the protected source."""

    offset: int
    message: str


@dataclass(slots=True)
class _Checker:
    protected: ProtectedSource
    problems: list[MarkupProblem] = field(default_factory=list)
    open: list[MarkupToken] = field(default_factory=list)
    elements: int = 0
    shared_chars: int = 0

    def start(self, token: MarkupToken) -> None:
        self.elements += 1
        parent = self.open[-1].name if self.open else ""
        if token.name == "mj-include":
            self._problem(token.start, "<mj-include> is not available: a template stands alone")
        elif token.name in MJML_TAGS or token.name.startswith("mj"):
            self._mjml_element(token, parent)
        elif parent == "" or (parent in MJML_TAGS and MJML_TAGS[parent].children is not None):
            self._problem(
                token.start, f"<{token.name}> is not an MJML element; HTML goes into mj-text, mj-table or mj-raw"
            )
        if not token.closed and token.name not in VOID_TAGS:
            self.open.append(token)
            if len(self.open) == DEPTH_MAX + 1:
                self._problem(token.start, f"elements are nested more than {DEPTH_MAX} deep")

    def _mjml_element(self, token: MarkupToken, parent: str) -> None:
        element = MJML_TAGS.get(token.name)
        if element is None:
            self._problem(token.start, f"unknown element <{token.name}>")
            return
        allowed = MJML_TAGS[parent].children if parent in MJML_TAGS else frozenset({"mjml"} if parent == "" else ())
        if allowed is None or token.name not in allowed:
            self._problem(
                token.start, f"<{token.name}> can not stand in " + (f"<{parent}>" if parent else "the template")
            )
        for attribute in token.attributes:
            if self.protected.word.search(attribute.name):
                self._problem(
                    attribute.name_start, "template syntax can not stand between the attributes of an element"
                )
            elif attribute.name not in element.attributes and not attribute.name.startswith(
                ("xmlns", "data-", "aria-")
            ):
                self._problem(attribute.name_start, f"unknown attribute {attribute.name!r} of <{token.name}>")
        if any(outer.name == "mj-attributes" for outer in self.open[:DEPTH_MAX]):
            self.shared_chars += token.end - token.start

    def end(self, token: MarkupToken) -> None:
        if token.name in VOID_TAGS:
            return
        if not any(opened.name == token.name for opened in self.open[-DEPTH_MAX:]):
            self._problem(token.start, f"</{token.name}> closes nothing")
            return
        while (opened := self.open.pop()).name != token.name:
            self._problem(opened.start, f"<{opened.name}> is not closed")

    def text(self, token: MarkupToken) -> None:
        """XML has no loose ``<``, though HTML has."""
        loose = self.protected.text.find("<", token.start, token.end)
        if loose >= 0 and not (self.open and self.open[-1].name in RAW_TAGS):
            self._problem(loose, "a < that begins no element must be written &lt;")

    def finish(self, length: int) -> None:
        for opened in self.open[:DEPTH_MAX]:
            self._problem(opened.start, f"<{opened.name}> is not closed")
        if self.elements == 0:
            self._problem(length, "there is no <mjml> element")
        if self.elements > ELEMENTS_MAX:
            self._problem(length, f"more than {ELEMENTS_MAX} elements")
        if self.shared_chars > SHARED_ATTRIBUTES_MAX_CHARS:
            self._problem(length, f"more than {SHARED_ATTRIBUTES_MAX_CHARS} characters in <mj-attributes>")

    def _problem(self, offset: int, message: str) -> None:
        self.problems.append(MarkupProblem(offset, message))


def check_mjml(protected: ProtectedSource) -> list[MarkupProblem]:
    """What is wrong with a template, as far as it can be told without compiling it."""
    checker = _Checker(protected)
    for token in read_markup(protected.text):
        if token.kind is TokenKind.START:
            checker.start(token)
        elif token.kind is TokenKind.END:
            checker.end(token)
        elif token.kind is TokenKind.TEXT:
            checker.text(token)
    checker.finish(len(protected.text))
    return checker.problems


def mjml_to_html(protected: ProtectedSource) -> str | list[MarkupProblem]:
    """The HTML of a template that ``check_mjml`` found nothing wrong with, or why there is none."""
    try:
        output = mrml.to_html(protected.text, None, _OPTIONS)
    except OSError as error:  # what mrml's binding raises for any source it can not read
        position = _POSITION.search(str(error))
        octets = protected.text.encode()[: int(position.group(1))] if position else b""
        return [MarkupProblem(len(octets.decode(errors="ignore")), f"MJML can not be read: {error}")]
    return output.content
