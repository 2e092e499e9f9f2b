"""OTLP over HTTP, protobuf. Source: opentelemetry-proto, "OTLP/HTTP"."""

import zlib

from google.rpc.status_pb2 import Status
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tallyspan_collector.errors import DecodeError, OverloadedError, StoreUnavailableError
from tallyspan_collector.loader import Loader
from tallyspan_collector.metrics import Dropped, Metrics
from tallyspan_collector.otlp import decode
from tallyspan_collector.receiver.grpc import MESSAGE_BYTES_LIMIT, RETRY_SECONDS

PROTOBUF = "application/x-protobuf"


class RefusedError(Exception):
    """The request cannot be taken; `status` is what to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_app(loader: Loader, metrics: Metrics) -> Starlette:
    """Return the ASGI application that answers POST /v1/traces."""

    async def traces(request: Request) -> Response:
        try:
            await loader.load(decode(await _body(request)))
        except RefusedError as error:
            metrics.request("refused")
            return _failure(error.status, error)
        except DecodeError as error:
            metrics.request("malformed")
            metrics.dropped(Dropped.MALFORMED)
            return _failure(400, error)
        except (OverloadedError, StoreUnavailableError) as error:
            metrics.request("failed")
            return _failure(503, error)
        metrics.request("accepted")
        return Response(b"", media_type=PROTOBUF)

    return Starlette(routes=[Route("/v1/traces", traces, methods=["POST"])])


async def _body(request: Request) -> bytes:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != PROTOBUF:
        raise RefusedError(
            415, f"content-type {content_type or 'missing'}: send {PROTOBUF} (http/protobuf)"
        )
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding not in {"identity", "gzip"}:
        raise RefusedError(415, f"content-encoding {coding}: send gzip or none")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if coding == "gzip" else None
    parts: list[bytes] = []
    room = MESSAGE_BYTES_LIMIT
    async for chunk in request.stream():
        try:
            part = inflate.decompress(chunk, room + 1) if inflate and chunk else chunk
        except zlib.error as error:
            raise DecodeError(f"not gzip: {error}") from None
        room -= len(part)
        if room < 0:
            raise RefusedError(413, f"body above {MESSAGE_BYTES_LIMIT} bytes")
        parts.append(part)
    if inflate is not None and not inflate.eof:
        raise DecodeError("the gzip body ends too early")
    return b"".join(parts)


def _failure(status: int, error: Exception) -> Response:
    headers = {"retry-after": str(RETRY_SECONDS)} if status == 503 else {}  # noqa: PLR2004
    body = Status(message=str(error)).SerializeToString()
    return Response(body, status, headers, media_type=PROTOBUF)
