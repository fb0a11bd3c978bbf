"""Merge values as templates see them: plain, read-only, without the methods of Python's types.

Promises: what is handed to minijinja is ``str``, ``int``, ``float``, ``bool``, or ``Record`` and ``Rows`` of
these, none of them the caller's own; a null is as if it were not there.
Fails: ``ValueError`` for other types, keys that are no text, and nesting beyond ``DEPTH_MAX``.

minijinja reads attributes of Python objects: of a plain dict ``{{ order.items }}`` would write out the bound method
where the field is missing, and ``{{ rows.append(1) }}`` would change the next recipient's rows.
"""

from collections.abc import Mapping
from typing import Any, Never

DEPTH_MAX = 16

_SCALARS = frozenset({str, int, float, bool})


class Record(dict[str, Any]):
    """A mapping that has items, and no attributes."""

    __slots__ = ()


class Rows(list[Any]):
    """A sequence that has elements, and no attributes."""

    __slots__ = ()


def _has_none(_: object) -> Never:
    raise AttributeError


for _kind, _base in ((Record, dict), (Rows, list)):
    for _name in dir(_base):
        if not _name.startswith("_"):
            setattr(_kind, _name, property(_has_none))


def plain_values(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The top-level variables of one mail.

    Raises:
        ValueError: a value is of a kind that templates do not see.

    """
    return {
        name: value if type(value) in _SCALARS else _plain(value, 1)
        for name, value in variables.items()
        if value is not None
    }


def _plain(value: Any, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise ValueError(f"merge values are nested more than {DEPTH_MAX} deep")
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        if not {str}.issuperset(map(type, value)):
            raise ValueError("a key in a merge value is not a text")
        if _SCALARS.issuperset(map(type, value.values())):
            return Record(value)
        return Record((key, _plain(item, depth + 1)) for key, item in value.items() if item is not None)
    if kind is list or kind is tuple:
        return Rows(_plain(item, depth + 1) for item in value)
    raise ValueError(f"a merge value is of type {kind.__name__}")
