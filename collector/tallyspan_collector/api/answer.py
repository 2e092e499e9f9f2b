"""Answers as JSON or CSV, with an ETag; 304 for a client that has the same already."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from tallyspan_collector.api.fields import Fields
from tallyspan_collector.api.parameters import Parameter, choice
from tallyspan_collector.files import spreadsheet


def format_of(*more: str) -> Parameter:
    """Return the parameter that chooses the format of an answer: `json`, `csv` or one `more`."""
    others = f"; {', '.join(more)}: as a file" if more else ""
    about = f"json, or csv for the rows alone; else the Accept header decides{others}"
    return choice("format", about, ("json", "csv", *more))


FORMAT = format_of()
JSON, CSV = "application/json", "text/csv"
# Private and revalidated each time; with the ETag nothing is sent twice.
HEADERS = {
    "Cache-Control": "private, no-cache",
    "Vary": "Accept, Authorization, Cookie",
    "X-Content-Type-Options": "nosniff",
}


def wants_csv(wanted: str | None, accept: str) -> bool:
    """Return whether the client wants CSV, by its `format` parameter, else by its Accept header."""
    if wanted is not None:
        return wanted == "csv"
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        try:
            weights[media] = float(weight)
        except ValueError:
            weights[media] = 0
    of_json = max(weights.get(each, 0) for each in (JSON, "application/*", "*/*"))
    return weights.get(CSV, 0) > 0 and weights[CSV] >= of_json


def render(request: Request, body: Mapping[str, Any], table: tuple[str, Fields] | None) -> Response:
    """Return the response: JSON, or CSV of a field and the fields of its rows if `table` is set."""
    if table is None:
        content, media_type = json_text(body), JSON
    else:
        name, fields = table
        content, media_type = csv_text(body[name], fields), f"{CSV}; charset=utf-8; header=present"
    following = body.get("next_cursor")
    link = {"Link": f'<{_next(request, following)}>; rel="next"'} if following else {}
    return _sent(request, content, media_type, link)


def as_file(request: Request, name: str, content: bytes, media_type: str) -> Response:
    """Return the response with a file that a browser saves under the name, plain ASCII."""
    return _sent(
        request, content, media_type, {"Content-Disposition": f'attachment; filename="{name}"'}
    )


def _sent(request: Request, content: bytes, media_type: str, more: Mapping[str, str]) -> Response:
    headers = {**HEADERS, "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', **more}
    if _has(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def _next(request: Request, cursor: str) -> str:
    # A sender chooses the id of a conversation in the path: any text, also `?` and line breaks.
    others = [each for each in request.query_params.multi_items() if each[0] != "cursor"]
    query = urlencode([*others, ("cursor", cursor)])
    return f"{quote(request.scope['path'])}?{query}"


def json_text(body: Mapping[str, Any]) -> bytes:
    """Return the body as JSON, in the order of its fields."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        errors="replace"
    )


def csv_text(rows: Sequence[Mapping[str, Any]], fields: Fields) -> bytes:
    """Return header and rows as CSV (RFC 4180); amounts exact, null as an empty field.

    Text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    names = list(rows[0]) if rows else [n for n, each in fields.items() if not each.is_optional]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows([_cell(row[name]) for name in names] for row in rows)
    return out.getvalue().encode(errors="replace")


def _cell(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list() | dict():
            return json.dumps(value, ensure_ascii=False) if value else ""
        case _:
            return spreadsheet.cell(value)


def _has(header: str, etag: str) -> bool:
    etags = {each.strip().removeprefix("W/") for each in header.split(",")}
    return etag in etags or "*" in etags
