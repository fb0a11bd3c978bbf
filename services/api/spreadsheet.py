"""Cells for people who open a table in a spreadsheet program.

Promises: no cell begins a formula, whatever somebody put into a name or a file. Fails: never.
Source: OWASP, "CSV Injection".
"""

from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "−")
"""Spreadsheet programs begin a formula with these; Japanese ones with their full-width forms too, which the minus sign
(U+2212) becomes in CP932."""


def formula_safe(value: str) -> str:
    """A cell that no spreadsheet program takes for a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value
