"""Fills in a compiled template for one recipient.

Promises: the same template, variables and system variables give the same mail. HTML escapes what is merged into it,
text and subject do not; a subject is one line, whatever is merged into it. A template is parsed once per ``Renderer``.
Fails: ``MergeFieldMissing`` (unless the policy is to fall back), ``RenderLimitExceeded`` for fuel and size,
``RenderFailed`` for everything else that goes wrong inside a template; all are permanent for that recipient.
"""

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from minijinja import Environment, TemplateError, safe

from hayabin.content.compiled import LINK_FUNCTION, OPEN_VARIABLE, TRACK_VARIABLE, CompiledTemplate
from hayabin.content.destination import is_destination, write_destination
from hayabin.content.environment import HTML_PART, SUBJECT_PART, TEXT_PART, make_environment
from hayabin.content.filters import ValueMissing
from hayabin.content.merge_values import plain_values
from hayabin.domain.campaign import MergePolicy
from hayabin.domain.errors import PermanentFailure

FUEL_DEFAULT = 200_000
"""Instructions, and blocks of 64 bytes: about 12 MB of text in all, a few milliseconds."""
OUTPUT_MAX_BYTES = 1024 * 1024
SUBJECT_MAX_CHARS = 2000

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_UNDEFINED = re.compile(r"`(.+)` is undefined", re.DOTALL)
_UNSEEN = re.compile(r"[\x00-\x20\x7f]+")
_LEFT_ALONE = re.compile(r"(?:mailto:|tel:|sms:|#)", re.IGNORECASE)


class RenderFailure(PermanentFailure):
    """A template can not be filled in for one recipient."""


class MergeFieldMissing(RenderFailure):
    """The recipient has no value for ``field``, which the template asks for."""

    def __init__(self, field: str) -> None:
        """Keep the field, as the template writes it."""
        super().__init__("merge_field_missing", field)
        self.field = field


class RenderLimitExceeded(RenderFailure):
    """The template takes more steps, memory or room than a mail may."""

    def __init__(self, detail: str) -> None:
        """Say which limit."""
        super().__init__("render_limit_exceeded", detail)


class RenderFailed(RenderFailure):
    """The template does something impossible with a value, such as adding a number to a text."""

    def __init__(self, detail: str) -> None:
        """Say what."""
        super().__init__("render_failed", detail)


@dataclass(frozen=True, slots=True)
class SystemVariables:
    """What Hayabin itself puts into one mail.

    Shape: links are ``<track_url>/<number>``; ``link_mac(number, url)`` signs the destination of a dynamic one.
    """

    track_url: str
    open_url: str
    unsubscribe_url: str
    link_mac: Callable[[int, str], str]
    view_url: str | None = None
    preferences_url: str | None = None
    confirm_url: str | None = None

    def urls(self) -> dict[str, str]:
        """Those that a template may write, by their fields; ``unsubscribe_url`` is always there."""
        optional = (
            ("view_url", self.view_url),
            ("preferences_url", self.preferences_url),
            ("confirm_url", self.confirm_url),
        )
        return {"unsubscribe_url": self.unsubscribe_url, **{name: url for name, url in optional if url is not None}}


@dataclass(frozen=True, slots=True)
class RenderedContent:
    """The content of one mail, line ends as the template has them."""

    subject: str
    html: str | None
    text: str


class Renderer:
    """One compiled template, parsed, for any number of mails; not to be shared between threads."""

    def __init__(self, compiled: CompiledTemplate, *, fuel: int = FUEL_DEFAULT) -> None:
        """Parse the template.

        Units: ``fuel`` counts, for each part, instructions and every 64 bytes of text made or written.
        """
        self._compiled = compiled
        self._strict = self._environment("strict", fuel)
        self._lenient = self._environment("chainable", fuel)
        self._dynamic = any(link.dynamic for link in compiled.links)

    def _environment(self, undefined: Any, fuel: int) -> Environment:
        environment = make_environment(undefined, fuel)
        environment.add_template(SUBJECT_PART, self._compiled.subject)
        environment.add_template(TEXT_PART, self._compiled.text)
        if self._compiled.html is not None:
            environment.add_template(HTML_PART, self._compiled.html)
        return environment

    def render(self, variables: Mapping[str, Any], system: SystemVariables, policy: MergePolicy) -> RenderedContent:
        """The mail's content for one recipient.

        Control characters and line ends in the subject become spaces, so that a merge value can not begin another
        header field.

        Raises:
            MergeFieldMissing: a field is not there, and the policy is not to fall back.
            RenderLimitExceeded: fuel or room ran out.
            RenderFailed: the template can not be filled in with these values.

        """
        environment = self._lenient if policy is MergePolicy.FALLBACK else self._strict
        try:
            context = plain_values(variables)
            urls = system.urls()
            context.update(urls)
            context[TRACK_VARIABLE] = system.track_url
            if self._dynamic:
                context[LINK_FUNCTION] = _LinkWriter(system, frozenset(urls.values()), escape=False)
            subject = _bounded(environment.render_template(SUBJECT_PART, **context), SUBJECT_MAX_CHARS)
            text = _bounded(environment.render_template(TEXT_PART, **context), OUTPUT_MAX_BYTES)
            body = None
            if self._compiled.html is not None:
                self._escape_system(context, system, urls)
                body = _bounded(environment.render_template(HTML_PART, **context), OUTPUT_MAX_BYTES)
        except TemplateError as error:
            raise _failure(error) from error
        except ValueMissing as error:
            missing = sorted(name for name in self._compiled.fields if variables.get(name) is None)
            raise MergeFieldMissing(missing[0] if missing else "unknown") from error
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise RenderFailed(f"{type(error).__name__}: {error}"[:200]) from error
        return RenderedContent(_CONTROL.sub(" ", subject).strip(), body, text)

    def _escape_system(self, context: dict[str, Any], system: SystemVariables, urls: Mapping[str, str]) -> None:
        """Make the system's URLs ready for HTML attributes; the engine's own escaping would spell out each slash."""
        for name, url in urls.items():
            context[name] = safe(html.escape(url))
        context[TRACK_VARIABLE] = html.escape(system.track_url)
        context[OPEN_VARIABLE] = html.escape(system.open_url)
        if self._dynamic:
            context[LINK_FUNCTION] = _LinkWriter(system, frozenset(urls.values()), escape=True)


class _LinkWriter:
    """The function that a template calls for the destination of a dynamic link."""

    __slots__ = ("_escape", "_own", "_system")

    def __init__(self, system: SystemVariables, own: frozenset[str], *, escape: bool) -> None:
        self._system = system
        self._own = own
        self._escape = escape

    def __call__(self, number: int, written: str) -> str:
        """Where link ``number`` leads; ``#`` for a scheme that no mail should carry."""
        url = _UNSEEN.sub("", html.unescape(written) if self._escape else written)
        system = self._system
        if url in self._own:
            target = url
        elif is_destination(url):
            target = f"{system.track_url}/{number}?u={write_destination(url)}&m={system.link_mac(number, url)}"
        else:
            target = url if _LEFT_ALONE.match(url) else "#"
        return safe(html.escape(target)) if self._escape else target


def _bounded(rendered: str, max_bytes: int) -> str:
    if len(rendered) * 4 > max_bytes and len(rendered.encode("utf-8", "replace")) > max_bytes:
        raise RenderLimitExceeded(f"more than {max_bytes} bytes")
    return rendered


def _failure(error: TemplateError) -> RenderFailure:
    match error.kind:
        case "OutOfFuel":
            return RenderLimitExceeded("more steps or text than a mail may take")
        case "UndefinedError":
            found = _UNDEFINED.search(error.detail or "")
            return MergeFieldMissing(found.group(1) if found else "unknown")
    return RenderFailed(f"{error.kind}, line {error.line}: {error.detail}"[:200])
