"""Writes the rules of ``<style>`` into the elements they apply to, for mail clients that drop ``<style>``.

Promises: nothing is loaded from anywhere; ``@media`` and other rules that can not be inlined stay in a ``<style>``.
HTML without ``<style>`` is returned as it is, not re-written.
Fails: ``ValueError`` with a message for the author: too deep, too much, or a style sheet that can not be read.
"""

import css_inline

from hayabin.content.markup import VOID_TAGS, TokenKind, read_markup

DEPTH_MAX = 200
STYLE_MAX_CHARS = 65_536
STYLED_CHARS_MAX = 24_000_000
"""Characters of style times elements: what inlining may write at worst."""
COMPARISONS_MAX = 400_000_000
"""Declarations squared times elements: the inliner compares each declaration of an element with the others, which at
this bound takes about a second if every rule meets every element."""

_STYLES = frozenset({"style", "mj-style"})
_INLINER = css_inline.CSSInliner(
    load_remote_stylesheets=False, keep_link_tags=True, keep_at_rules=True, keep_style_tags=False
)


def inline_styles(markup: str) -> str:
    """``markup`` with its styles inlined.

    Raises:
        ValueError: it can not be done, or not within bounds.

    """
    if not check_style_cost(markup):
        return markup
    return _INLINER.inline(markup)


def check_style_cost(markup: str, elements_factor: int = 1) -> bool:
    """Whether there are styles to inline; ``elements_factor`` is how many elements each one of ``markup`` becomes.

    Raises:
        ValueError: inlining them is beyond the bounds.

    """
    elements = depth = deepest = style_chars = declarations = 0
    in_style = False
    for token in read_markup(markup):
        if token.kind is TokenKind.START:
            elements += elements_factor
            depth += token.name not in VOID_TAGS
            deepest = max(deepest, depth)
        elif token.kind is TokenKind.END:
            depth = max(0, depth - (token.name not in VOID_TAGS))
        elif token.kind is TokenKind.TEXT and in_style:
            style_chars += token.end - token.start
            declarations += markup.count(":", token.start, token.end)
        in_style = token.kind is TokenKind.START and token.name in _STYLES
    if deepest > DEPTH_MAX:
        raise ValueError(f"elements are nested more than {DEPTH_MAX} deep")
    too_much = style_chars * elements > STYLED_CHARS_MAX or declarations**2 * elements > COMPARISONS_MAX
    if style_chars > STYLE_MAX_CHARS or too_much:
        raise ValueError(f"{style_chars} characters of style for {elements} elements are too much to inline")
    return style_chars > 0
