"""Splits template source into plain text, ``{{ outputs }}`` and ``{% statements %}``, and these into tokens.

Promises: the pieces are those that minijinja sees, in order, comments left out and ``{% raw %}`` blocks turned into
text; one pass, time linear in the source.
Fails: ``SyntaxBroken`` with the offset where the source stops being a template, or holds what we do not read (braces
inside an expression: dictionaries are refused, so that an expression ends where it seems to end), or more of anything
than minijinja's parser, which recurses over chains of operators and of ``elif``, has stack for.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

PIECES_MAX = 10_000
TOKENS_MAX = 1000
"""Tokens of one expression."""
ELIF_MAX = 300

_OPEN = re.compile(r"\{[{%#]")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}")
_END_RAW = re.compile(r"\{%[-+]?\s*endraw\s*[-+]?%\}")
_SPACE = re.compile(r"\s*")
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<number>0[xXoObB][0-9a-fA-F_]+|[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][-+]?[0-9]+)?)"""
    r"""|(?P<name>[^\W\d]\w*)"""
    r"""|(?P<operator>\*\*|//|==|!=|<=|>=|[-+*/%~|.,:()\[\]<>=])""",
    re.DOTALL,
)
_CLOSE = {"{{": re.compile(r"[-+]?\}\}"), "{%": re.compile(r"[-+]?%\}")}


class PieceKind(StrEnum):
    """What a piece of a template is."""

    TEXT = "text"
    OUTPUT = "output"
    STATEMENT = "statement"


class TokenKind(StrEnum):
    """What a token of an expression is; the names are those of the groups of the token pattern."""

    STRING = "string"
    NUMBER = "number"
    NAME = "name"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Token:
    """One token; ``start`` and ``end`` are offsets in the whole source."""

    kind: TokenKind
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a template with its place in the source; ``tokens`` is empty for text."""

    kind: PieceKind
    text: str
    start: int
    tokens: tuple[Token, ...] = ()

    @property
    def tag(self) -> str:
        """The keyword of a statement, ``""`` for anything else."""
        return self.tokens[0].text if self.kind is PieceKind.STATEMENT and self.tokens else ""


class SyntaxBroken(ValueError):
    """The source is no template from ``offset`` on."""

    def __init__(self, offset: int, message: str) -> None:
        """Keep the offset in characters."""
        super().__init__(message)
        self.offset = offset
        self.message = message


def line_of(source: str, offset: int) -> int:
    """The line, counted from 1, that ``offset`` stands in."""
    return source.count("\n", 0, offset) + 1


def split_template(source: str) -> list[Piece]:
    """The pieces of ``source``.

    Raises:
        SyntaxBroken: something is not closed, is no token of an expression, or is too much.

    """
    pieces: list[Piece] = []
    position = branches = 0
    while True:
        if len(pieces) > PIECES_MAX:
            raise SyntaxBroken(position, f"more than {PIECES_MAX} outputs and statements")
        opening = _OPEN.search(source, position)
        end = opening.start() if opening else len(source)
        if end > position:
            pieces.append(Piece(PieceKind.TEXT, source[position:end], position))
        if opening is None:
            return pieces
        raw = _RAW.match(source, end)
        if opening.group() == "{#":
            position = _find(source, "#}", end, "this comment is not closed") + 2
        elif raw:
            closing = _END_RAW.search(source, raw.end())
            if closing is None:
                raise SyntaxBroken(end, "this raw block is not closed")
            if closing.start() > raw.end():
                pieces.append(Piece(PieceKind.TEXT, source[raw.end() : closing.start()], raw.end()))
            position = closing.end()
        else:
            piece = _expression(source, end, opening.group())
            pieces.append(piece)
            position = end + len(piece.text)
            branches += piece.tag == "elif"
            if branches > ELIF_MAX:
                raise SyntaxBroken(end, f"more than {ELIF_MAX} branches by elif")


def _find(source: str, what: str, start: int, message: str) -> int:
    found = source.find(what, start + 2)
    if found < 0:
        raise SyntaxBroken(start, message)
    return found


def _expression(source: str, start: int, opening: str) -> Piece:
    """The output or statement that begins at ``start``."""
    kind = PieceKind.OUTPUT if opening == "{{" else PieceKind.STATEMENT
    close = _CLOSE[opening]
    position = start + 2
    if source[position : position + 1] in {"-", "+"}:  # white space control
        position += 1
    tokens: list[Token] = []
    while True:
        space = _SPACE.match(source, position)
        position = space.end() if space else position
        closing = close.match(source, position)
        if closing:
            return Piece(kind, source[start : closing.end()], start, tuple(tokens))
        token = _TOKEN.match(source, position)
        if token is None:
            if position >= len(source):
                raise SyntaxBroken(start, f"this {opening} is not closed")
            raise SyntaxBroken(position, f"{source[position]!r} can not stand in an expression")
        if len(tokens) == TOKENS_MAX:
            raise SyntaxBroken(start, f"an expression of more than {TOKENS_MAX} words and signs")
        tokens.append(Token(TokenKind(token.lastgroup or ""), token.group(), token.start(), token.end()))
        position = token.end()
