"""The reference page at /docs, made from the OpenAPI document: self-contained, no script, no outside address."""

import html
import json
from typing import Any

from services.api.problem_kinds import KINDS
from services.api.problems import not_found

_STYLE = (
    "body{font:16px/1.6 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733}"
    "h2{border-bottom:1px solid #cfd8e3;margin-top:2.5rem}code,pre{font:14px/1.5 ui-monospace,monospace}"
    "pre{background:#f3f6fa;padding:.8rem;overflow:auto;border-radius:6px}summary{cursor:pointer;padding:.3rem 0}"
    "details{margin-left:.5rem}li{margin:.2rem 0}"
    ".m{display:inline-block;min-width:4.2rem;font-weight:700;color:#0b5cad}"
)
_INTRODUCTION = (
    "<p>Send your key as <code>Authorization: Bearer hyb_…</code>. Every POST takes an <code>Idempotency-Key</code>. "
    "Lists come in pages: pass <code>next_cursor</code> back as <code>cursor</code>. Errors are RFC 9457 problems; "
    "their kinds are <a href='#problems'>below</a>. The machine-readable document: "
    "<a href='/openapi.json'>/openapi.json</a>.</p>"
)


def reference_page(document: dict[str, Any]) -> str:
    """The page."""
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_operation(document, path, method, operation))
    sections = "".join(f"<h2>{html.escape(tag)}</h2>{''.join(items)}" for tag, items in groups.items())
    problems = "".join(
        f"<li><a href='/problems/{kind}'><code>{kind}</code></a> {html.escape(text)}</li>"
        for kind, text in KINDS.items()
    )
    title = f"{document['info']['title']} {document['info']['version']}"
    return _page(title, f"{_INTRODUCTION}{sections}<h2 id='problems'>problems</h2><ul>{problems}</ul>")


def problem_page(kind: str) -> str:
    """The explanation of a kind of problem.

    Raises:
        Problem: 404 for a kind that we do not have.
    """
    if kind not in KINDS:
        raise not_found("kind of problem")
    return _page(
        kind.replace("-", " ").capitalize(),
        f"<p>{html.escape(KINDS[kind])}</p><p><a href='/docs'>The reference</a></p>",
    )


def _page(title: str, content: str) -> str:
    title = html.escape(title)
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<meta name='viewport' content='width=device-width,initial-scale=1'><style>{_STYLE}</style></head><body>"
        f"<h1>{title}</h1>{content}</body></html>"
    )


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [f"<p>{html.escape(operation.get('description', ''))}</p>"]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = "".join(
            f"<li><code>{html.escape(p['name'])}</code> ({p['in']}) {html.escape(p.get('description', ''))}</li>"
            for p in parameters
        )
        parts.append(f"<ul>{rows}</ul>")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(_content(f"Request, {kind}", content))
        parts.append(_members(document, content.get("schema", {})))
    for status, response in operation["responses"].items():
        if status != "default":
            for kind, content in response.get("content", {}).items():
                parts.append(_content(f"Answer {status}, {kind}", content))
    return (
        f"<details><summary><span class='m'>{method.upper()}</span> <code>{html.escape(path)}</code> "
        f"{html.escape(operation.get('summary', ''))}</summary>{''.join(parts)}</details>"
    )


def _content(title: str, content: dict[str, Any]) -> str:
    shown = content.get("example")
    if shown is None:
        return f"<p>{html.escape(title)}</p>"
    text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, indent=2)
    return f"<p>{html.escape(title)}</p><pre>{html.escape(text)}</pre>"


def _members(document: dict[str, Any], schema: dict[str, Any]) -> str:
    """The members of a body's form, with what is needed and what stands where one is left out."""
    for choice in (schema, *schema.get("anyOf", [])):
        name = choice.get("$ref", "").rpartition("/")[2]
        form = document["components"]["schemas"][name] if name else choice
        if "properties" in form:
            needed = form.get("required", [])
            rows = "".join(
                f"<li><code>{html.escape(member)}</code> {_note(member in needed, about)}{_inner(about)}</li>"
                for member, about in form["properties"].items()
            )
            return f"<ul>{rows}</ul>"
    return ""


def _inner(about: dict[str, Any]) -> str:
    """The members of the objects in an array, where the form itself has them."""
    return _members({}, about["items"]) if "properties" in about.get("items", {}) else ""


def _note(is_needed: bool, about: dict[str, Any]) -> str:
    words = [html.escape(about["description"])] if "description" in about else []
    values = about.get("enum") or about.get("items", {}).get("enum", [])
    words += [" | ".join(f"<code>{html.escape(str(value))}</code>" for value in values)] if values else []
    if is_needed:
        words.append("needed")
    elif "default" in about:
        words.append(f"default <code>{html.escape(json.dumps(about['default'], ensure_ascii=False))}</code>")
    return "; ".join(words)
