"""Compiles a template: checks it, makes HTML and text of it, and puts tracked links and the open pixel in place.

Promises: everything that can be known before a mail is rendered is done here, once per version: MJML to HTML, styles
inlined, links numbered, text part written. What compiles has passed minijinja's parser in its final form.
Fails: ``TemplateInvalid`` with every problem found at the first stage that found any: size, template syntax, rules of
``guard``, markup, links. Any input gets an answer in bounded time; nothing is loaded from anywhere.
"""

from minijinja import TemplateError

from hayabin.content.compiled import (
    CompiledTemplate,
    TemplateInvalid,
    TemplateKind,
    TemplateProblem,
)
from hayabin.content.environment import HTML_PART, SUBJECT_PART, TEXT_PART, make_environment
from hayabin.content.guard import offences
from hayabin.content.inline_css import check_style_cost, inline_styles
from hayabin.content.links import LinkBook, find_anchors, rewrite_html, rewrite_text
from hayabin.content.markup import TokenKind, read_markup
from hayabin.content.mjml import check_mjml, mjml_to_html
from hayabin.content.placeholder import ProtectedSource
from hayabin.content.plain_text import write_text
from hayabin.content.syntax import Piece, PieceKind, SyntaxBroken, line_of, split_template

SOURCE_MAX_BYTES = 1024 * 1024
COMPILED_MAX_CHARS = 1024 * 1024
SUBJECT_MAX_CHARS = 2000
TAGS_MAX = 40_000
MJML_ELEMENTS_FACTOR = 8
"""HTML elements that one element of MJML becomes, at most."""

_GLOBALS = frozenset({"range", "loop"})

__all__ = ["CompiledTemplate", "TemplateInvalid", "TemplateKind", "TemplateProblem", "compile_template"]


def compile_template(kind: TemplateKind, subject: str, source: str, text_source: str | None) -> CompiledTemplate:
    """The template that ``subject``, ``source`` and ``text_source`` describe.

    ``text_source`` None asks for a text part written from the HTML; for a text template it is not looked at.

    Raises:
        TemplateInvalid: something has to be mended first.

    """
    parts = {"/subject": subject, "/source": source}
    if text_source is not None and kind is not TemplateKind.TEXT:
        parts["/text_source"] = text_source
    pieces = _parse(parts)
    book = LinkBook()
    if kind is TemplateKind.TEXT:
        html, text = None, _rewritten_text(ProtectedSource(source, pieces["/source"], markup=False), book, "/source")
    else:
        html, text = _html_and_text(kind, source, pieces["/source"], book, with_text=text_source is None)
        if text_source is not None:
            protected = ProtectedSource(text_source, pieces["/text_source"], markup=False)
            text = _rewritten_text(protected, book, "/text_source")
    compiled = CompiledTemplate(
        kind=kind,
        subject=ProtectedSource(subject, pieces["/subject"], markup=False).restore_all(),
        html=html,
        text=text,
        links=tuple(book.links),
        fields=_fields(parts),
    )
    _check_compiled(compiled)
    return compiled


def _parse(parts: dict[str, str]) -> dict[str, list[Piece]]:
    """The pieces of each part.

    Raises:
        TemplateInvalid: a part is too large, is no template, or does what templates may not do.

    """
    problems: list[TemplateProblem] = []
    pieces: dict[str, list[Piece]] = {}
    for pointer, source in parts.items():
        limit = SUBJECT_MAX_CHARS if pointer == "/subject" else SOURCE_MAX_BYTES
        if len(source) > limit or len(source.encode("utf-8", "replace")) > SOURCE_MAX_BYTES:
            problems.append(TemplateProblem(1, None, pointer, f"longer than {limit} characters"))
            continue
        if not source.isascii() and source.encode("utf-8", "replace").decode() != source:
            problems.append(TemplateProblem(1, None, pointer, "holds half a character (a lone surrogate)"))
            continue
        try:
            pieces[pointer] = split_template(source)  # first: it keeps minijinja's recursion bounded
            make_environment("strict").add_template(pointer, source)
        except TemplateError as error:
            problems.append(TemplateProblem(error.line or 1, None, pointer, error.detail or error.kind))
        except SyntaxBroken as error:
            problems.append(_problem(source, pointer, error.offset, error.message))
        else:
            found = offences(pieces[pointer])[: TemplateInvalid.MAX_PROBLEMS]
            problems += [_problem(source, pointer, offence.offset, offence.message) for offence in found]
    _raise_if(problems)
    return pieces


def _problem(source: str, pointer: str, offset: int, message: str) -> TemplateProblem:
    column = offset - source.rfind("\n", 0, offset)
    return TemplateProblem(line_of(source, offset), column, pointer, message)


def _raise_if(problems: list[TemplateProblem]) -> None:
    if problems:
        raise TemplateInvalid(problems)


def _html_and_text(
    kind: TemplateKind, source: str, pieces: list[Piece], book: LinkBook, *, with_text: bool
) -> tuple[str, str]:
    """The HTML part, and the text part written from it if asked for."""
    if source.count("<") > TAGS_MAX or source.count("=") > TAGS_MAX:
        raise TemplateInvalid([TemplateProblem(1, None, "/source", f"more than {TAGS_MAX} tags or attributes")])
    protected = ProtectedSource(source, pieces, markup=True)
    markup = _mjml_markup(protected) if kind is TemplateKind.MJML else _html_markup(protected)
    anchors = find_anchors(protected, markup, book)
    _raise_if([TemplateProblem(1, None, "/source", problem.message) for problem in book.problems])
    html = rewrite_html(protected, markup, anchors)
    return html, write_text(protected, markup, anchors) if with_text else ""


def _mjml_markup(protected: ProtectedSource) -> str:
    problems = check_mjml(protected)
    if not problems:
        try:
            check_style_cost(protected.text, MJML_ELEMENTS_FACTOR)
        except ValueError as error:
            _raise_if([TemplateProblem(1, None, "/source", str(error))])
        made = mjml_to_html(protected)
        if isinstance(made, str):
            return made
        problems = made
    raise TemplateInvalid(
        [
            TemplateProblem(protected.line(found.offset), None, "/source", found.message)
            for found in problems[: TemplateInvalid.MAX_PROBLEMS]
        ]
    )


def _html_markup(protected: ProtectedSource) -> str:
    try:
        markup = inline_styles(protected.text)
    except ValueError as error:
        raise TemplateInvalid([TemplateProblem(1, None, "/source", str(error))]) from error
    if markup is not protected.text:
        _raise_if(_statements_in_tags(protected))
    return markup


def _statements_in_tags(protected: ProtectedSource) -> list[TemplateProblem]:
    """Statements between the attributes of an element, which inlining would put in another order."""
    return [
        TemplateProblem(
            protected.line(attribute.name_start), None, "/source",
            "with <style>, statements can not stand between the attributes of an element, only inside their values",
        )
        for token in read_markup(protected.text)
        if token.kind is TokenKind.START
        for attribute in token.attributes
        for match in protected.word.finditer(attribute.name)
        if protected.piece(match).kind is PieceKind.STATEMENT
    ]  # fmt: skip


def _rewritten_text(protected: ProtectedSource, book: LinkBook, pointer: str) -> str:
    text = rewrite_text(protected, book)
    _raise_if([TemplateProblem(protected.line(p.offset), None, pointer, p.message) for p in book.problems])
    return text


def _fields(parts: dict[str, str]) -> frozenset[str]:
    environment = make_environment("strict")
    names: set[str] = set()
    for source in parts.values():
        names |= environment.undeclared_variables_in_str(source)
    return frozenset(names - _GLOBALS)


def _check_compiled(compiled: CompiledTemplate) -> None:
    """Let minijinja parse what rendering will parse: what markup tools broke is told to its author."""
    environment = make_environment("strict")
    for part, source in (
        (SUBJECT_PART, compiled.subject),
        (HTML_PART, compiled.html or ""),
        (TEXT_PART, compiled.text),
    ):
        pointer = "/subject" if part == SUBJECT_PART else "/source"
        if len(source) > COMPILED_MAX_CHARS:
            raise TemplateInvalid(
                [TemplateProblem(1, None, pointer, f"more than {COMPILED_MAX_CHARS} characters of mail")]
            )
        try:
            environment.add_template(part, source)
        except TemplateError as error:
            message = f"template syntax and markup cross each other in {part}: {error.detail or error.kind}"
            raise TemplateInvalid([TemplateProblem(1, None, pointer, message)]) from error
