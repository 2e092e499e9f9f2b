"""OTLP over HTTP, protobuf and JSON. Source: opentelemetry-proto, "OTLP/HTTP"."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from google.protobuf.json_format import MessageToJson
from google.rpc.status_pb2 import Status
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tallyspan_collector.access.keys import Key
from tallyspan_collector.errors import DecodeError, OverloadedError, SpoolError
from tallyspan_collector.metrics.counters import Dropped, Metrics
from tallyspan_collector.receiver import langfuse
from tallyspan_collector.receiver.budget import BodySize
from tallyspan_collector.receiver.coding import CODINGS, MAX_RATIO, TooLargeError, unpacked
from tallyspan_collector.receiver.intake import (
    MAX_MESSAGE_BYTES,
    RETRY_SECONDS,
    Intake,
    NoKeyError,
    Rejected,
    TooOftenError,
)
from tallyspan_collector.receiver.otlp_json import to_protobuf
from tallyspan_collector.receiver.signals import SIGNALS, Signal

PROTOBUF, JSON = "application/x-protobuf", "application/json"
JOINED_BYTES = 1 << 20
"""From so many bytes on Python joins without holding the interpreter: the loop need not wait."""
LOOP_PACKED_BYTES = 8 << 10
"""Packed bodies up to it are unpacked at once: a thread costs more than that takes."""


class RefusedError(Exception):
    """The request is refused with this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_app(intake: Intake, metrics: Metrics) -> Starlette:
    """Return the ASGI application that answers POST .../v1/traces and .../v1/logs.

    The path may have any prefix. Metrics are acknowledged and not kept.
    """
    return Starlette(
        routes=[
            route
            for signal in SIGNALS
            for route in _routes(signal, _taking(intake, metrics, signal))
        ]
        + langfuse.routes(intake)
    )


def _routes(signal: Signal, take: Callable[[Request], Awaitable[Response]]) -> list[Route]:
    return [
        Route(f"{prefix}/v1/{signal.name}", take, methods=["POST"])
        for prefix in ("", "/{prefix:path}")
    ]


def _taking(
    intake: Intake, metrics: Metrics, signal: Signal
) -> Callable[[Request], Awaitable[Response]]:
    async def take(request: Request) -> Response:
        is_json = _media_type(request) == JSON
        try:
            key = intake.authenticate(request.headers.get("authorization", ""))
            with intake.budget.body() as size:
                rejected = await _take(request, intake, key, signal, size)
        except (
            NoKeyError,
            TooOftenError,
            RefusedError,
            DecodeError,
            OverloadedError,
            SpoolError,
        ) as e:
            return _failure(e, metrics, is_json=is_json)
        metrics.request("accepted")
        response = signal.answer(rejected.items, rejected.reason) if rejected else signal.answer()
        if is_json:
            return Response(MessageToJson(response, indent=None), media_type=JSON)
        return Response(response.SerializeToString(), media_type=PROTOBUF)

    return take


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _take(
    request: Request, intake: Intake, key: Key | None, signal: Signal, size: BodySize
) -> Rejected | None:
    media_type = _media_type(request)
    if media_type not in {PROTOBUF, JSON}:
        raise RefusedError(
            415, f"content-type {media_type or 'missing'}: send {PROTOBUF} or {JSON}"
        )
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in CODINGS:
        raise RefusedError(415, f"content-encoding {coding}: send one of {', '.join(CODINGS)}")
    try:
        body = await _body(request, size)
        if media_type == JSON:
            read_json = partial(_of_json, coding=coding, signal=signal, size=size)
            return await intake.take(body, key, signal, read_json, 0)
        if coding == "identity":
            return await intake.take(body, key, signal)
        unpack = partial(_unpacked, coding=coding, size=size)
        max_loop_bytes = min(LOOP_PACKED_BYTES, signal.max_loop_bytes // MAX_RATIO)
        return await intake.take(body, key, signal, unpack, max_loop_bytes)
    except TooLargeError:
        raise RefusedError(
            413,
            f"body above {MAX_MESSAGE_BYTES} bytes, or above {MAX_RATIO} times its packed size",
        ) from None
    except ClientDisconnect:
        raise RefusedError(400, "the sender went away before the end of its body") from None


async def _body(request: Request, size: BodySize) -> bytes:
    parts: list[bytes] = []
    async for chunk in request.stream():
        size.add(len(chunk))
        if size.bytes > MAX_MESSAGE_BYTES:
            raise TooLargeError
        parts.append(chunk)
    if size.bytes < JOINED_BYTES:
        return b"".join(parts)
    return await asyncio.to_thread(b"".join, parts)


def _unpacked(body: bytes, coding: str, size: BodySize) -> bytes:
    return unpacked(body, coding, MAX_MESSAGE_BYTES, size.add)


def _of_json(body: bytes, coding: str, signal: Signal, size: BodySize) -> bytes:
    return to_protobuf(_unpacked(body, coding, size), signal.request())


def _failure(error: Exception, metrics: Metrics, *, is_json: bool) -> Response:
    headers: dict[str, str] = {}
    outcome, status = "failed", 503
    match error:
        case RefusedError():
            outcome, status = "refused", error.status
        case NoKeyError():
            outcome, status = "unauthenticated", 401
            headers["www-authenticate"] = 'Bearer realm="tallyspan ingest"'
        case DecodeError():
            outcome, status = "malformed", 400
            metrics.dropped(Dropped.MALFORMED)
        case TooOftenError():
            outcome, status = "refused", 429
        case OverloadedError():
            outcome = "refused"
        case _:
            pass
    if status in {429, 503}:
        headers["retry-after"] = str(RETRY_SECONDS)
    metrics.request(outcome)
    answer = Status(message=str(error))
    body = MessageToJson(answer, indent=None).encode() if is_json else answer.SerializeToString()
    return Response(body, status, headers, media_type=JSON if is_json else PROTOBUF)
