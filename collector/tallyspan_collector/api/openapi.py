"""The OpenAPI document, derived from the operations."""

from collections.abc import Mapping, Sequence
from typing import Any

from tallyspan import __version__
from tallyspan_collector.api.answer import CSV, JSON
from tallyspan_collector.api.fields import object_schema
from tallyspan_collector.api.operation import Operation
from tallyspan_collector.api.parameters import Parameter

ABOUT = (
    "What LLM calls cost. Costs are strings with the exact decimal amount in USD; null means not"
    " priced, never free. Tokens are integers; null means nobody stated them. What cannot be"
    " answered is refused with one sentence in `error`."
)
_REFUSALS: Mapping[str, str] = {
    "400": "cannot be answered as asked: which parameter, and what is allowed",
    "401": "no key, or a wrong, expired or revoked one",
    "403": "no key is set up, or this key may not see this",
    "404": "there is no such thing in the ledger",
    "413": "the body is too large",
    "429": "more requests a second than this key may make",
    "501": "needs an optional package that is not installed: the answer names it",
    "503": "the store cannot answer now, or not within its time",
}


def document(mounts: Mapping[str, Sequence[Operation]]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document; `mounts`: prefix -> operations below it."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tallyspan", "version": __version__, "description": ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"session": []}],
        "paths": _paths(mounts),
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "tallyspan_session"},
            },
            "schemas": {
                "Error": {
                    "type": "object",
                    "properties": {"error": {"type": "string"}},
                    "required": ["error"],
                    "additionalProperties": False,
                }
            },
        },
    }


def _paths(mounts: Mapping[str, Sequence[Operation]]) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    for prefix, operations in mounts.items():
        for operation in operations:
            path = prefix + operation.path.replace(":path}", "}").replace(":int}", "}")
            paths.setdefault(path, {})[operation.method.lower()] = _described(operation)
    return paths


def _described(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {JSON: {"schema": object_schema(operation.answers)}}
    if operation.table:
        content[CSV] = {"schema": {"type": "string"}}
    for document in operation.documents.values():
        content[document.media_type] = {"schema": {"type": "string", "format": "binary"}}
    etag = {"description": "of what was answered; send it as If-None-Match", "schema": _TEXT}
    refusal = {"schema": {"$ref": "#/components/schemas/Error"}}
    limited = " Not for keys that are limited to departments." if operation.is_for_all else ""
    request_body: dict[str, Any] = {}
    if operation.body:
        schema = {"schema": operation.body.schema}
        request_body = {"requestBody": {"required": True, "content": {JSON: schema}}}
    return request_body | {
        "operationId": operation.name,
        "summary": operation.says.partition(". ")[0].rstrip("."),
        "description": operation.says + limited,
        "parameters": [_parameter(each) for each in operation.declared()],
        "responses": {
            "200": {
                "description": "the answer",
                "headers": {"ETag": etag},
                "content": content,
            },
            "304": {"description": "what If-None-Match names is still the answer"},
            **{
                status: {"description": description, "content": {JSON: refusal}}
                for status, description in _REFUSALS.items()
            },
        },
    }


_TEXT = {"type": "string"}


def _parameter(each: Parameter) -> dict[str, Any]:
    schema = dict(each.schema)
    if each.default is not None:
        is_number = schema.get("type") == "integer"
        schema["default"] = int(each.default) if is_number else each.default
    if each.max_times > 1:
        schema = {"type": "array", "items": schema, "maxItems": each.max_times}
    return {
        "name": each.name,
        "in": "path" if each.is_in_path else "query",
        "required": each.is_in_path,
        "description": each.says,
        "schema": schema,
    }
