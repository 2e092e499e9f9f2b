"""One HTTP request to an LLM endpoint and its response: the core that knows no transport.

A transport calls `begin` with the request, `read_headers` with the status and headers, `body.feed`
with every chunk as it passes, and `end` or `fail`. Nothing here raises into the caller. What the
end means is decided in `ending`; the spans are opened and closed here.
"""

import json
import time
import weakref
from collections.abc import Mapping
from contextvars import Token
from functools import partial

from opentelemetry import context, trace
from opentelemetry.trace import Span

from tallyspan import counting, ending, estimate, opening, request, semconv, span
from tallyspan.attribution import without_baggage
from tallyspan.background import background
from tallyspan.backlog import Backlog
from tallyspan.body import Body
from tallyspan.ending import Counting, Facts, Write
from tallyspan.guard import note, ours
from tallyspan.not_understood import sightings
from tallyspan.recognise import Endpoint, recognise
from tallyspan.sampling import CallTracer
from tallyspan.stream_usage import HiddenUsage, is_wanted, request_with_usage
from tallyspan.wire_format import Read

DEFAULT_PORTS = {"https": 443, "http": 80, "wss": 443, "ws": 80}
_IN_CALL = context.create_key("tallyspan-in-call")
backlog = Backlog(estimate.estimator.start)


def settle(seconds: float) -> None:
    """End the spans of the calls that are over; wait at most so long for tokens to be counted.

    What was not understood is told too.
    """
    backlog.read()
    with ours("tell which requests were not understood"):
        sightings.tell()
    estimate.estimator.flush(seconds)


def begin(
    tracer: CallTracer,
    method: str,
    url: tuple[str, str, int | None, str],
    body: bytes | None,
    *,
    completes: bool = True,
) -> "Exchange | None":
    """Return the exchange that the request opens, or None if it is no LLM call.

    `url` is scheme, host, port (None: the scheme's own) and path. `body` None: it is not at hand,
    because it is produced while it is sent. `completes`: another instrumentation's open span of the
    call is completed; else ours is below it, for its owner writes other counts over ours.
    """
    scope = context.get_current()
    above = scope.get(_IN_CALL)
    if isinstance(above, _Sending) and above.is_on:
        return None  # a transport above records this call
    scheme, host, port, path = url
    endpoint = recognise(method, host, port, path)
    if endpoint is None:
        sightings.note(tracer, method, host, path)
        return None
    params = request.read(body, endpoint.format.request) if body else request.Request()
    if not (
        endpoint.is_certain
        or endpoint.is_retrieval  # its answer decides: the request has no body
        or endpoint.is_batch
        or body is None
        or params.looks_like_a_call
    ):
        return None
    server = host, port or DEFAULT_PORTS.get(scheme)
    return Exchange(tracer, endpoint, params, server, body, scope, completes=completes)


class Exchange:
    """A call in flight.

    `body_to_send`: the request to send in place of the application's own, which asks for the
    stream's usage too; None: send the application's own. A transport that sends the application's
    own all the same sets it to None.
    """

    __slots__ = (
        "__weakref__", "_attributes", "_context", "_current", "_endpoint", "_format",
        "_is_completed", "_is_ours", "_is_over", "_is_stream", "_request_body", "_span",
        "_start_ns", "_started", "_status", "_tracer", "body", "body_to_send",
    )  # fmt: skip

    def __init__(
        self,
        tracer: CallTracer,
        endpoint: Endpoint,
        params: request.Request,
        server: tuple[str, int | None],
        request_body: bytes | None,
        scope: context.Context,
        *,
        completes: bool = True,
    ) -> None:
        self._tracer = tracer
        self._endpoint = endpoint
        self._context = scope
        self._request_body = request_body
        self.body_to_send: bytes | None = None
        if request_body and params.is_stream and is_wanted():
            self.body_to_send = request_with_usage(endpoint, request_body)
        self._start_ns = time.time_ns()
        self._started = time.perf_counter()
        self._format = endpoint.format
        self.body = Body(self._format)
        self._status = 0
        self._is_stream = params.is_stream if endpoint.is_stream is None else endpoint.is_stream
        self._is_over = False
        model = params.model or endpoint.model
        self._attributes = opening.describe(
            endpoint,
            server,
            scope,
            model=model,
            user_id=params.user_id,
            is_stream=self._is_stream,
        )
        # The span that stands for the call, ours or another's, and what is current while it is sent
        self._span = self._current = None
        self._is_ours = self._is_completed = False
        if endpoint.is_batch:
            # No reference back: an exchange that nobody holds any more ends at once.
            self.body.on_results = partial(_write_results, weakref.ref(self))
        elif not endpoint.is_retrieval:
            if completes and not _is_of_earlier_call(scope):
                self._span = span.open_call_span(model, scope)
            if self._span is None:
                self._span, self._current = span.start(tracer, self._attributes, scope)
                self._is_ours = True

    def sending(self) -> "_Sending":
        """Return the scope to send in: this call's span is current, and no user leaks out.

        An exception inside ends the call, and goes on.
        """
        return _Sending(self, self._current)

    def scope(self, sending: "_Sending") -> context.Context:
        """Return the context that the transports below see while the call is being sent."""
        scope = context.set_value(_IN_CALL, sending, without_baggage(self._context))
        return scope if self._current is None else trace.set_span_in_context(self._current, scope)

    def read_headers(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the status line and the headers (lower-case names)."""
        self._status = status
        try:
            if self._format.read_headers is not None:
                self._format.read_headers(headers, self.body.answer)
            coding = headers.get("content-encoding", "")
            self.body.open(headers.get("content-type", ""), coding)
            option = self._format.usage_option
            is_plain_stream = self.body.is_stream and not coding
            if is_plain_stream and self.body_to_send is not None and option is not None:
                self.body.hidden = HiddenUsage(option)
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("read the headers of an answer", error)

    def unpack(self, coding: str) -> None:
        """Take a content coding of the bytes to come that was not in the headers of before."""
        with ours("read the headers of an answer"):
            self.body.unpack(coding)

    def fail(self, error: BaseException) -> None:
        """End the call with what was read when the transport or the application gave up."""
        self._finish(type(error).__qualname__)

    def give_up(self, error_type: str) -> None:
        """End the call with what was read until then, for the reason of that name."""
        self._finish(error_type)

    def end(self) -> bytes:
        """End the call, unless it has ended; return the bytes that were held back so far.

        The body is over, closed or abandoned.
        """
        self._finish("")
        return self.body.rest()

    def _finish(self, error_type: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        end_ns = time.time_ns()
        try:
            # Another's span ends when the application wants. An answer that is retrieved waits
            # behind the call that it is the answer to.
            if not ((self._is_ours or self._span is None) and self._wait(error_type, end_ns)):
                self._read(error_type, end_ns)
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("end a call", error)

    def _wait(self, error_type: str, end_ns: int) -> bool:
        """Leave the rest to the thread that reads answers; False if it is to be done at once."""
        if not self._tracer.may_end_later():
            return False
        size_bytes = self.body.passed_bytes + len(self._request_body or b"")
        return backlog.put(partial(self._read, error_type, end_ns), size_bytes)

    def _read(self, error_type: str, end_ns: int) -> None:
        """Read what is left of the answer, and end the call."""
        self.body.end()
        if self._format.read_request is not None:
            self._read_request(self._format.read_request)
        self._conclude(error_type, end_ns, "pending")

    def _read_request(self, read: Read) -> None:
        """Put what is billed by the request into the answer."""
        with ours("read a request"):
            if self._request_body and ending.is_accepted(self._status):
                read(json.loads(self._request_body), self.body.answer)

    def write_results(self) -> None:
        """Write what is there of a batch's results while the others still come."""
        for write in ending.results(self._facts("", "pending", None)):
            self._write(write, time.time_ns())

    def _conclude(self, error_type: str, end_ns: int, progress: Counting) -> None:
        """Do what the end of the call means."""
        answer = self.body.answer
        # Where what is asked for has an id of its own, the call was deferred under that.
        deferred_id = self._endpoint.response_id or answer.response_id
        answer.response_id = answer.response_id or self._endpoint.response_id
        deferred = None
        if ending.has_background_usage(self._status, answer):
            deferred = background.book(deferred_id)
        decision = ending.decide(self._facts(error_type, progress, deferred))
        if decision.deferred is not None:
            background.defer(deferred_id, decision.deferred)
        for write in decision.writes:
            if not self._is_told(write.attributes):
                self._write(write, end_ns)
        if decision.needs_counting:
            is_taken = estimate.estimator.submit(partial(self._count, error_type, end_ns))
            if not is_taken:
                self._conclude(error_type, end_ns, "skipped")

    def _is_told(self, attributes: span.Attributes) -> bool:
        """Whether it is the state of a batch, and this process has told it before.

        Who waits for a batch asks for its state over and over.
        """
        if attributes.get(semconv.BATCH_EVENT) != "state":
            return False
        batch_id, content = (attributes.get(key) for key in (semconv.BATCH_ID, semconv.BATCH_ITEMS))
        return (
            background.book(f"{batch_id} {attributes.get(semconv.BATCH_FILES)} {content}") is None
        )

    def _facts(
        self, error_type: str, progress: Counting, deferred: span.Attributes | None
    ) -> Facts:
        first = self.body.first_chunk_at
        return Facts(
            endpoint=self._endpoint,
            attributes=self._attributes,
            answer=self.body.answer,
            status=self._status,
            error_type=error_type,
            ids=None if self._span is None else self._span.get_span_context(),
            other=self._describe_other(),
            is_stream=self._is_stream or self.body.is_stream,
            has_request_body=self._request_body is not None,
            opens_with_usage=self._format.opens_with_usage,
            seconds_to_first_chunk=None if first is None else first - self._started,
            deferred=deferred,
            counting=progress,
        )

    def _describe_other(self) -> span.OtherSpan | None:
        if self._span is None or self._is_ours:
            return None
        has_usage = span.has_usage(self._span)
        return span.OtherSpan(self._span.is_recording(), has_usage, self._is_completed)

    def _write(self, write: Write, end_ns: int) -> None:
        if write.place == "new" or self._span is None:
            opened, _ = span.start(self._tracer, write.attributes, self._context, self._start_ns)
            span.close(opened, {}, write.error_type, end_ns)
        elif write.place == "ours":
            span.close(self._span, write.attributes, write.error_type, end_ns)
        else:
            span.complete(self._span, write.attributes)
            self._is_completed = True

    def _count(self, error_type: str, end_ns: int) -> None:
        """Find out the usage, and conclude the call again. Runs in the estimator's thread."""
        progress: Counting = "skipped"
        with ours("estimate tokens"):
            model = str(self._attributes.get(semconv.REQUEST_MODEL, ""))
            if counting.fill_usage(self._endpoint, self.body, self._request_body or b"", model):
                progress = "done"
        with ours("write a span"):
            self._conclude(error_type, end_ns, progress)

    def __del__(self) -> None:
        """End the call of a stream that nobody read or closed."""
        if not getattr(self, "_is_over", True):
            self.end()


def _write_results(of: "weakref.ref[Exchange]") -> None:
    exchange = of()
    if exchange is not None:  # else it is ending, and writes them all
        exchange.write_results()


def _is_of_earlier_call(scope: context.Context) -> bool:
    """Whether the context's span is ours, of a call that was being sent when the context was made.

    Such a span may not have ended yet, and is not another instrumentation's.
    """
    above = scope.get(_IN_CALL)
    return isinstance(above, _Sending) and above.current is trace.get_current_span(scope)


class _Sending:
    """Sets the context of a call for the time of a `with`.

    A task or thread that was started meanwhile keeps the context: then `is_on` is False, and its
    own calls count. `current` is the span that is current meanwhile; None: it is another's.
    """

    __slots__ = ("_exchange", "_token", "current", "is_on")

    def __init__(self, exchange: Exchange, current: Span | None) -> None:
        self._exchange = exchange
        self.current = current
        self.is_on = True
        self._token: Token[context.Context] | None = None

    def __enter__(self) -> None:
        try:
            self._token = context.attach(self._exchange.scope(self))
        except Exception as failure:  # noqa: BLE001  ours, not the application's
            note("set the context of a call", failure)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.is_on = False
        exchange = self._exchange
        # The context outlives the call, so drop the reference to the exchange here.
        del self._exchange
        if self._token is not None:
            context.detach(self._token)
        if error is not None:
            exchange.fail(error)
