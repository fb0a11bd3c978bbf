"""What templates may do: the rules that keep a render's time and memory within its fuel.

minijinja charges fuel for instructions and for every 64 bytes of text, but not for what is shared: a list that holds
itself twice, thirty times over, costs nothing until it is written out. So values may only be built in ways that cost
what they weigh: no macros, no includes, no calls, ``*`` for numbers, ``+`` for numbers and texts, no lists of variables
that can be kept.

Promises: a template without problems, guarded by ``guarded``, renders in memory proportional to its fuel and its data.
Fails: by returning problems, each with its offset.
"""

from dataclasses import dataclass

from hayabin.content.compiled import RESERVED_PREFIX
from hayabin.content.filters import (
    ADDEND_GUARD,
    BUILT_IN_FILTERS,
    FACTOR_GUARD,
    LITERAL_ARGUMENTS,
    OUR_FILTERS,
    TESTS,
)
from hayabin.content.syntax import Piece, PieceKind, Token, TokenKind

TAGS = frozenset({"if", "elif", "else", "endif", "for", "endfor", "set", "endset", "with", "endwith"})
GUARDS = {"*": FACTOR_GUARD, "+": ADDEND_GUARD}
LISTED_MAX = 32
"""Variables that one expression may gather in lists: ``[last_name, first_name]|join(" ")``."""

_FILTERS = BUILT_IN_FILTERS | OUR_FILTERS.keys()
_WORDS = frozenset({"and", "or", "not", "in", "is", "if", "else", "elif", "for", "set", "with"})
_CONSTANTS = frozenset({"true", "false", "none", "True", "False", "None"})
_KEEPING = frozenset({"set", "for", "with"})
_CALLABLE = frozenset({"range"})
_LOOP_CALLABLE = frozenset({"cycle", "changed"})


@dataclass(frozen=True, slots=True)
class Offence:
    """A rule that a template breaks, and where."""

    offset: int
    message: str


def offences(pieces: list[Piece]) -> list[Offence]:
    """Every rule that is broken, in the order of the source."""
    found: list[Offence] = []
    for piece in pieces:
        if piece.kind is not PieceKind.TEXT:
            found += _Check(piece).run()
    return found


def guarded(piece: Piece) -> str:
    """The source of ``piece`` with the operands of ``+`` and ``*`` checked when it runs."""
    tokens = piece.tokens
    inserts: list[tuple[int, str]] = []
    for index, token in enumerate(tokens):
        if token.kind is TokenKind.OPERATOR and token.text in GUARDS and index and _ends_operand(tokens, index - 1):
            guard = f"|{GUARDS[token.text]}"
            if not _is_number(tokens, index - 1):
                inserts.append((tokens[index - 1].end, guard))
            last = _operand_end(tokens, index + 1)
            if last is not None and not (last == index + 1 and tokens[last].kind is TokenKind.NUMBER):
                inserts.append((tokens[last].end, guard))
    source, written = "", piece.start
    for offset, guard in sorted(set(inserts)):
        source += piece.text[written - piece.start : offset - piece.start] + guard
        written = offset
    return source + piece.text[written - piece.start :]


def _ends_operand(tokens: tuple[Token, ...], index: int) -> bool:
    """Whether an operand may end at ``index``, so that an operator after it has two sides."""
    token = tokens[index]
    if token.kind is TokenKind.OPERATOR:
        return token.text in {")", "]"}
    return not (token.kind is TokenKind.NAME and token.text in _WORDS and not _is_attribute(tokens, index))


def _is_attribute(tokens: tuple[Token, ...], index: int) -> bool:
    return index > 0 and tokens[index - 1].text == "." and tokens[index - 1].kind is TokenKind.OPERATOR


def _is_number(tokens: tuple[Token, ...], index: int) -> bool:
    return tokens[index].kind is TokenKind.NUMBER and not _is_attribute(tokens, index)


def _operand_end(tokens: tuple[Token, ...], start: int) -> int | None:
    """The index of the last token of the operand that begins at ``start``, filters included."""
    index = start
    while index < len(tokens) and tokens[index].text in {"-", "+", "not"}:
        index += 1
    if index >= len(tokens):
        return None
    end = _closing(tokens, index) if tokens[index].text in {"(", "["} else index
    while end is not None and end + 1 < len(tokens):
        following = tokens[end + 1]
        if following.kind is not TokenKind.OPERATOR:
            break
        if following.text in {".", "|"} and end + 2 < len(tokens):
            end += 2
        elif following.text in {"(", "["}:
            end = _closing(tokens, end + 1)
        else:
            break
    return end


def _closing(tokens: tuple[Token, ...], start: int) -> int | None:
    depth = 0
    for index in range(start, len(tokens)):
        if tokens[index].kind is TokenKind.OPERATOR:
            depth += (tokens[index].text in {"(", "["}) - (tokens[index].text in {")", "]"})
            if depth == 0:
                return index
    return None


class _Check:
    """One pass over the tokens of one output or statement."""

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.tokens = piece.tokens
        self.found: list[Offence] = []
        self.brackets: list[str] = []  # "list", "group", "subscript", or "args:" and the filter
        self.values_from = self._values_from()
        self.variables = 0
        self.gathers = False

    def run(self) -> list[Offence]:
        if not self.tokens:
            return [Offence(self.piece.start, "nothing stands between the braces")]
        if self.piece.kind is PieceKind.STATEMENT and self.piece.tag not in TAGS:
            return [Offence(self.piece.start, f"{self.piece.tag!r} is not available; there are if, for, set and with")]
        if self.piece.tag == "for" and self.tokens[-1].text == "recursive":
            self._offence(self.tokens[-1], "loops can not be recursive")
        for index in range(self.piece.kind is PieceKind.STATEMENT, len(self.tokens)):
            token = self.tokens[index]
            if token.kind is TokenKind.NAME:
                self._name(index, token)
            elif token.kind is TokenKind.OPERATOR:
                self._operator(index, token)
        if self.gathers and self.variables > LISTED_MAX:
            self._offence(self.tokens[0], f"more than {LISTED_MAX} variables stand in an expression with a list")
        return self.found

    def _offence(self, token: Token, message: str) -> None:
        self.found.append(Offence(token.start, message))

    def _values_from(self) -> int:
        """The index of the first token that is value, not target, of a statement that keeps values."""
        mark = {"set": "=", "for": "in"}.get(self.piece.tag)
        if mark is None:
            return 0
        return next((i for i, token in enumerate(self.tokens) if token.text == mark), len(self.tokens))

    def _name(self, index: int, token: Token) -> None:
        after = self.tokens[index + 1].text if index + 1 < len(self.tokens) else ""
        if token.text.startswith(RESERVED_PREFIX):
            self._offence(token, f"names that begin with {RESERVED_PREFIX} are reserved")
        elif self._names_filter(index):
            if token.text not in _FILTERS:
                self._offence(token, f"there is no filter {token.text!r}")
        elif self._names_test(index):
            if token.text not in TESTS:
                self._offence(token, f"there is no test {token.text!r}")
        elif _is_attribute(self.tokens, index) or token.text in _WORDS | _CONSTANTS:
            return
        elif not (after == "=" and self.brackets):  # a variable, not the name of an argument
            self._variable(index, token)

    def _names_filter(self, index: int) -> bool:
        return index > 0 and self.tokens[index - 1].text == "|"

    def _names_test(self, index: int) -> bool:
        if self.tokens[index].text == "not":
            return False
        words = [token.text for token in self.tokens[max(0, index - 2) : index]]
        return words[-1:] == ["is"] or words == ["is", "not"]

    def _variable(self, index: int, token: Token) -> None:
        self.variables += 1
        if not LITERAL_ARGUMENTS.isdisjoint(bracket.removeprefix("args:") for bracket in self.brackets):
            self._offence(token, "the arguments of this filter must be literals")
        elif "list" in self.brackets and self._keeps(index):
            self._offence(token, f"a list in {self.piece.tag!r} may hold literals only")

    def _keeps(self, index: int) -> bool:
        return self.piece.tag in _KEEPING and index >= self.values_from

    def _operator(self, index: int, token: Token) -> None:
        match token.text:
            case "(" | "[":
                self._open(index, token)
            case ")" | "]":
                if self.brackets:
                    self.brackets.pop()
            case ",":
                tuple_here = not self.brackets or self.brackets[-1] == "group"
                self.gathers = self.gathers or tuple_here
                loose = self.piece.tag == "with" and not self.brackets
                if tuple_here and self._keeps(index) and not loose:
                    self._offence(token, f"{self.piece.tag!r} takes one value, not a tuple")
            case "*":
                for side in (index - 1, index + 1):
                    if 0 <= side < len(self.tokens) and self.tokens[side].kind is TokenKind.STRING:
                        self._offence(token, "* multiplies numbers only")

    def _open(self, index: int, token: Token) -> None:
        after_operand = index > 0 and _ends_operand(self.tokens, index - 1)
        before = self.tokens[index - 1] if index else token
        if token.text == "[":
            self.brackets.append("subscript" if after_operand else "list")
            self.gathers = self.gathers or not after_operand
        elif not after_operand:
            self.brackets.append("group")
        elif before.kind is TokenKind.NAME and (self._names_filter(index - 1) or self._names_test(index - 1)):
            self.brackets.append(f"args:{before.text}")
        else:
            self.brackets.append("args:")
            loop = [t.text for t in self.tokens[max(0, index - 3) : index - 1]] == ["loop", "."]
            allowed = before.text in _LOOP_CALLABLE if loop else before.text in _CALLABLE
            if before.kind is not TokenKind.NAME or not allowed or (_is_attribute(self.tokens, index - 1) and not loop):
                self._offence(before, "functions can not be called here; there are range, loop.cycle and filters")
