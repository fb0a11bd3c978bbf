"""The minijinja environment that templates are checked and rendered in.

Promises: only the filters of ``filters`` and the function ``range``; HTML parts escape, others do not; no loader, no
method calls on text, no access to the interpreter.
Fails: as minijinja does, with ``TemplateError``.
"""

from typing import Literal

from minijinja import Environment

from hayabin.content.filters import GUARD_FILTERS, OUR_FILTERS, REMOVED_FILTERS, strictly

HTML_PART = "body.html"
TEXT_PART = "body.txt"
SUBJECT_PART = "subject.txt"

_REMOVED_GLOBALS = ("cycler", "debug", "dict", "joiner", "namespace")


def make_environment(undefined: Literal["strict", "chainable"], fuel: int | None = None) -> Environment:
    """An environment without templates.

    Units: ``fuel`` counts instructions, and every 64 bytes of text that is made or written.
    """
    filters = {**OUR_FILTERS, **GUARD_FILTERS}
    if undefined == "strict":
        filters = {name: strictly(function) for name, function in filters.items()}
    environment = Environment(
        filters=filters,
        undefined_behavior=undefined,
        fuel=fuel,
        debug=True,  # errors name the expression
        pycompat=False,
        keep_trailing_newline=True,
        auto_escape_callback=_escapes,
    )
    for name in REMOVED_FILTERS:
        if name not in OUR_FILTERS:
            environment.remove_filter(name)
    for name in _REMOVED_GLOBALS:
        environment.remove_global(name)
    return environment


def _escapes(part: str) -> bool:
    return part.endswith(".html")
