"""OTLP over gRPC. Source: opentelemetry-proto, "OTLP/gRPC Throttling" for the codes."""

import asyncio
from collections.abc import AsyncIterator

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tallyspan_collector.errors import ConfigError, DecodeError, OverloadedError, SpoolError
from tallyspan_collector.metrics.counters import Dropped, Metrics
from tallyspan_collector.receiver.budget import BodySize
from tallyspan_collector.receiver.intake import (
    MAX_MESSAGE_BYTES,
    RETRY_SECONDS,
    Intake,
    NoKeyError,
)
from tallyspan_collector.receiver.signals import SIGNALS, Signal
from tallyspan_collector.receiver.tls import Tls

BODY_SECONDS = 60
SLOW_SECONDS, SLOW_BYTES = 1.0, 16 << 20
"""gRPC keeps what has come of a message to itself until all of it is there. What takes longer than
the one is counted with the other, so that senders that never end cannot fill the memory.
"""
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.max_concurrent_streams", 128),  # of one connection
    ("grpc.max_allowed_incoming_connections", 10_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Clients may ask whether we are there as often as every 10 seconds; by default 5 minutes.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


class GrpcReceiver:
    """Serves OTLP's services on one address; with `is_shared` other processes listen there too."""

    def __init__(
        self, intake: Intake, metrics: Metrics, tls: Tls | None = None, *, is_shared: bool = False
    ) -> None:
        self._intake = intake
        self._metrics = metrics
        self._tls = tls
        self._server = grpc.aio.server(
            # A second collector on the port must fail, not share it.
            options=[*_OPTIONS, ("grpc.so_reuseport", int(is_shared))],
        )
        self._server.add_generic_rpc_handlers(
            [_Only(signal.grpc_method, self._handler(signal)) for signal in SIGNALS]
        )

    async def start(self, address: str) -> str:
        """Listen; return HOST:PORT with the port really taken. Raises `ConfigError`."""
        try:
            port = (
                self._server.add_secure_port(address, self._tls.for_grpc())
                if self._tls
                else self._server.add_insecure_port(address)
            )
        except RuntimeError:
            raise ConfigError(
                f"--otlp-grpc {address}: cannot listen there; is the port in use? "
                "Choose another, or port 0 for a free one"
            ) from None
        await self._server.start()
        return f"{address.rpartition(':')[0]}:{port}"

    async def stop(self, grace_seconds: float) -> None:
        """Take no new requests; let the ones in flight end."""
        await self._server.stop(grace_seconds)

    def _handler(self, signal: Signal) -> grpc.RpcMethodHandler:
        async def export(_: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> bytes:
            return await self._export(signal, context)

        # Of a stream, for the key to be checked before the message is received: the sender, who
        # sends one message, sees no difference.
        return grpc.stream_unary_rpc_method_handler(export)

    async def _export(self, signal: Signal, context: grpc.aio.ServicerContext) -> bytes:
        try:
            key = self._intake.authenticate(_authorization(context))
            with self._intake.budget.body() as size:
                body = await _message(context, size)
                rejected = await self._intake.take(body, key, signal)
        except NoKeyError as error:
            self._metrics.request("unauthenticated")
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except DecodeError as error:
            self._metrics.request("malformed")
            self._metrics.dropped(Dropped.MALFORMED)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except OverloadedError as error:
            self._metrics.request("refused")
            await self._ask_to_retry(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error)
        except SpoolError as error:
            self._metrics.request("failed")
            await self._ask_to_retry(context, grpc.StatusCode.UNAVAILABLE, error)
        else:
            self._metrics.request("accepted")
            if rejected is None:
                return b""  # an empty response: all accepted
            return signal.answer(rejected.items, rejected.reason).SerializeToString()
        raise AssertionError  # abort raises

    @staticmethod
    async def _ask_to_retry(
        context: grpc.aio.ServicerContext,
        code: grpc.StatusCode,
        error: Exception,
    ) -> None:
        status = Status(code=code.value[0], message=str(error))
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=RETRY_SECONDS)))
        details = ("grpc-status-details-bin", status.SerializeToString())
        await context.abort(code, str(error), trailing_metadata=(details,))


async def _message(context: grpc.aio.ServicerContext, size: BodySize) -> bytes:
    """Return the message of a call. Raises `OverloadedError` if it takes too long to come."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(BODY_SECONDS) as waiting:

            def count() -> None:
                try:
                    size.add(SLOW_BYTES)
                except OverloadedError:
                    waiting.reschedule(loop.time())

            slow = loop.call_later(SLOW_SECONDS, count)
            try:
                body = await context.read()
            finally:
                slow.cancel()
    except TimeoutError:
        raise OverloadedError("the message takes too long to come") from None
    if not isinstance(body, bytes):
        raise DecodeError("the call has no message")
    size.add(len(body))
    return body


def _authorization(context: grpc.aio.ServicerContext) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == "authorization":
            return value if isinstance(value, str) else value.decode("latin-1")
    return ""


class _Only(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """One method by its full name, raw bytes in and out."""

    def __init__(self, method: str, handler: grpc.RpcMethodHandler) -> None:
        self._method = method
        self._handler = handler

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        return self._handler if handler_call_details.method == self._method else None
