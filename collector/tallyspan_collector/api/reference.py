"""The OpenAPI document as one HTML page, without scripts and outside requests."""

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1rem; font-family: ui-monospace, monospace; margin: 0;
  display: inline; overflow-wrap: anywhere; }
details { border-top: 1px solid #8884; padding: .6rem 0; }
summary { cursor: pointer; } summary span { display: block; opacity: .75; margin-left: 1.1rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: .5rem 0 1rem; }
td, th { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; }
td:first-child { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
th { opacity: .75; font-weight: 600; }
.scroll { overflow-x: auto; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page(document: Mapping[str, Any]) -> str:
    """Return the document as HTML."""
    operations = "".join(
        _operation(f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])}</p>"
        "<p>Send your key as <code>Authorization: Bearer &lt;key&gt;</code>. The same for programs:"
        ' <a href="openapi.json">openapi.json</a></p>'
        f"{operations}</main></body></html>"
    )


def _operation(title: str, operation: Mapping[str, Any]) -> str:
    parameters = [
        (each["name"], _kind(each["schema"]), each["description"])
        for each in operation["parameters"]
    ]
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return (
        f"<details><summary><h2>{escape(title)}</h2><span>{escape(operation['summary'])}</span></summary>"
        f"<p>{escape(operation['description'])}</p>"
        + _table("Parameter", parameters)
        + _table("Answer", list(_fields(answer)))
        + "</details>"
    )


def _fields(schema: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str, str]]:
    fields = []
    for name, each in (schema["properties"] | schema["patternProperties"]).items():
        inner = each.get("items", each)
        fields.append((prefix + name, _kind(each), each.get("description", "")))
        if "properties" in inner:
            mark = "[]." if "items" in each else "."
            fields += _fields(inner, f"{prefix}{name}{mark}")
    return fields


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "")
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if "enum" in schema:
        text = ", ".join(schema["enum"])
    if "default" in schema:
        text += f"; default {schema['default']}"
    return text


def _table(title: str, rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    cells = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in each) + "</tr>" for each in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr><th scope="col">{title}</th><th scope="col">Kind'
        f'</th><th scope="col">Meaning</th></tr></thead><tbody>{cells}</tbody></table></div>'
    )
