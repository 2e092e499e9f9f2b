"""OTLP over gRPC. Source: opentelemetry-proto, "OTLP/gRPC Throttling" for the codes."""

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tallyspan_collector.errors import (
    ConfigError,
    DecodeError,
    OverloadedError,
    StoreUnavailableError,
)
from tallyspan_collector.loader import Loader
from tallyspan_collector.metrics import Dropped, Metrics
from tallyspan_collector.otlp import decode

MESSAGE_BYTES_LIMIT = 64 << 20
RETRY_SECONDS = 2
_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class GrpcReceiver:
    """Serves TraceService on one address."""

    def __init__(self, loader: Loader, metrics: Metrics) -> None:
        self._loader = loader
        self._metrics = metrics
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MESSAGE_BYTES_LIMIT),
                ("grpc.so_reuseport", 0),  # a second collector on the port must fail, not share it
            ]
        )
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        self._server.add_generic_rpc_handlers((_Only(_METHOD, handler),))

    async def start(self, address: str) -> str:
        """Listen; return HOST:PORT with the port really taken. Raises `ConfigError`."""
        try:
            port = self._server.add_insecure_port(address)
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

    async def _export(self, body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            await self._loader.load(decode(body))
        except DecodeError as error:
            self._metrics.request("malformed")
            self._metrics.dropped(Dropped.MALFORMED)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except OverloadedError as error:
            self._metrics.request("refused")
            await self._ask_to_retry(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error)
        except StoreUnavailableError as error:
            self._metrics.request("failed")
            await self._ask_to_retry(context, grpc.StatusCode.UNAVAILABLE, error)
        self._metrics.request("accepted")
        return b""  # an empty ExportTraceServiceResponse: all accepted

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


class _Only(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """One method by its full name, raw bytes in and out."""

    def __init__(self, method: str, handler: grpc.RpcMethodHandler) -> None:
        self._method = method
        self._handler = handler

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        return self._handler if handler_call_details.method == self._method else None
