"""The reference page at /docs, made from the OpenAPI document: self-contained, no script, no outside address."""

import html
import json
from typing import Any

_STYLE = (
    "body{font:16px/1.6 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733}"
    "h2{border-bottom:1px solid #cfd8e3;margin-top:2.5rem}code,pre{font:14px/1.5 ui-monospace,monospace}"
    "pre{background:#f3f6fa;padding:.8rem;overflow:auto;border-radius:6px}summary{cursor:pointer;padding:.3rem 0}"
    ".m{display:inline-block;min-width:4.2rem;font-weight:700;color:#0b5cad}"
)


def reference_page(document: dict[str, Any]) -> str:
    """The page."""
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append(_operation(document, path, method, operation))
    sections = "".join(f"<h2>{html.escape(tag)}</h2>{''.join(items)}" for tag, items in groups.items())
    title = html.escape(f"{document['info']['title']} {document['info']['version']}")
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<meta name='viewport' content='width=device-width,initial-scale=1'><style>{_STYLE}</style></head><body>"
        f"<h1>{title}</h1><p>Send your key as <code>Authorization: Bearer hyb_…</code>. Every POST takes an "
        "<code>Idempotency-Key</code>. Errors are RFC 9457 problems. The machine-readable document: "
        f"<a href='/openapi.json'>/openapi.json</a>.</p>{sections}</body></html>"
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
        shown = _example(document, content)
        text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, indent=2)
        parts.append(f"<p>{html.escape(kind)}</p><pre>{html.escape(text)}</pre>")
    return (
        f"<details><summary><span class='m'>{method.upper()}</span> <code>{html.escape(path)}</code> "
        f"{html.escape(operation.get('summary', ''))}</summary>{''.join(parts)}</details>"
    )


def _example(document: dict[str, Any], content: dict[str, Any]) -> Any:
    if "example" in content:
        return content["example"]
    schema = content.get("schema", {})
    if schema.get("examples"):
        return schema["examples"][0]
    for choice in (schema, *schema.get("anyOf", [])):
        name = choice.get("$ref", "").rpartition("/")[2]
        if name:
            properties = document["components"]["schemas"][name].get("properties", {})
            return {key: value.get("default", value.get("type", "…")) for key, value in properties.items()}
    return {}
