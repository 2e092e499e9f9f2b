"""OTLP over gRPC. Source: opentelemetry-proto, "OTLP/gRPC Throttling" for the codes."""

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tallyspan_collector.errors import ConfigError, DecodeError, OverloadedError, SpoolError
from tallyspan_collector.metrics.counters import Dropped, Metrics
from tallyspan_collector.receiver.intake import (
    MAX_MESSAGE_BYTES,
    RETRY_SECONDS,
    Intake,
    NoKeyError,
)
from tallyspan_collector.receiver.signals import SIGNALS, Signal
from tallyspan_collector.receiver.tls import Tls


class GrpcReceiver:
    """Serves OTLP's services on one address; with `is_shared` other processes listen there too."""

    def __init__(
        self, intake: Intake, metrics: Metrics, tls: Tls | None = None, *, is_shared: bool = False
    ) -> None:
        self._intake = intake
        self._metrics = metrics
        self._tls = tls
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                # A second collector on the port must fail, not share it.
                ("grpc.so_reuseport", int(is_shared)),
            ]
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
        async def export(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
            return await self._export(signal, body, context)

        return grpc.unary_unary_rpc_method_handler(export)

    async def _export(
        self, signal: Signal, body: bytes, context: grpc.aio.ServicerContext
    ) -> bytes:
        try:
            key = self._intake.authenticate(_authorization(context))
            with self._intake.budget.body() as size:
                size.add(len(body))
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
