"""One HTTP request to an LLM endpoint and its response: the core that knows no transport.

A transport calls `begin` with the request, `answered` with the status and headers, `feed` with
every chunk as it passes, and `end` or `fail`. Nothing here raises into the caller.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextvars import Token
from dataclasses import replace

from opentelemetry import context, trace

from tallyspan import estimate, request, semconv, span
from tallyspan.answer import Answer
from tallyspan.attribution import attributes_in_force, without_baggage
from tallyspan.background import background
from tallyspan.body import Body
from tallyspan.guard import note, ours
from tallyspan.recognise import Endpoint, recognise
from tallyspan.sampling import CallTracer
from tallyspan.stream_usage import HiddenUsage, is_wanted, request_with_usage
from tallyspan.usage import Usage

DEFAULT_PORTS = {"https": 443, "http": 80}
_REFUSED = 400
_IN_CALL = context.create_key("tallyspan-in-call")


def begin(
    tracer: CallTracer, method: str, url: tuple[str, str, int | None, str], body: bytes | None
) -> "Exchange | None":
    """Return the exchange the request opens, or None if it is no LLM call.

    `url` is scheme, host, port (None: the scheme's own) and path; `body` None: not known.
    """
    scope = context.get_current()
    above = scope.get(_IN_CALL)
    if isinstance(above, _Sending) and above.is_on:
        return None  # a transport above has this call
    scheme, host, port, path = url
    endpoint = recognise(method, host, port, path)
    if endpoint is None:
        return None
    said = request.read(body, endpoint.format.request) if body else request.Request()
    if not endpoint.is_certain and body is not None and not said.looks_like_a_call:
        return None
    server = host, port or DEFAULT_PORTS.get(scheme)
    return Exchange(tracer, endpoint, said, server, body, scope)


class Exchange:
    """A call in flight."""

    def __init__(
        self,
        tracer: CallTracer,
        endpoint: Endpoint,
        said: request.Request,
        server: tuple[str, int | None],
        body: bytes | None,
        scope: context.Context,
    ) -> None:
        self._tracer = tracer
        self._body = body
        self.body_to_send: bytes | None = None
        """The request to send instead of the application's own, if it is to say more."""
        self.hidden: HiddenUsage | None = None
        """Takes off the stream what the application did not ask for; None: nothing."""
        if body and said.is_stream and is_wanted():
            self.body_to_send = request_with_usage(endpoint, body)
        self._endpoint = endpoint
        self._start_ns = time.time_ns()
        self._started = time.perf_counter()
        self._answer = Answer()
        self._format = endpoint.format
        self._answered = Body(self._format, self._answer)
        self.feed: Callable[[bytes], None] = self._answered.feed
        """Takes the next bytes of the body as they came over the wire; never raises."""
        self._status = 0
        self._is_stream = said.is_stream if endpoint.is_stream is None else endpoint.is_stream
        self._is_over = False
        self._context = scope
        model = said.model or endpoint.model
        self._attributes = self._describe_request(said, model, server)
        self._other = None if endpoint.is_retrieval else span.open_call_span(model)
        self._is_told = False
        """Whether another instrumentation's span says what this call used."""
        self._model = model
        self._span = self._current = None
        if self._other is None and not endpoint.is_retrieval:
            self._span, self._current = span.start(tracer, self._attributes)

    def _describe_request(
        self, said: request.Request, model: str, server: tuple[str, int | None]
    ) -> span.Attributes:
        made: span.Attributes = {
            semconv.OPERATION: self._endpoint.operation,
            semconv.PROVIDER: self._endpoint.provider,
            semconv.ENDPOINT_ID: self._endpoint.endpoint_id,
            semconv.SERVER_ADDRESS: server[0],
        }
        if model:
            made[semconv.REQUEST_MODEL] = model
        if server[1] is not None:
            made[semconv.SERVER_PORT] = server[1]
        if self._is_stream:
            made[semconv.REQUEST_STREAM] = True
        if said.user_id:
            made[semconv.USER_ID] = said.user_id
        made.update(attributes_in_force(self._context))
        return made

    def sending(self) -> "_Sending":
        """Return the scope to send in: this call's span is current, and no user leaks out.

        An exception inside ends the call, and goes on.
        """
        return _Sending(self)

    def scope(self, sending: "_Sending") -> context.Context:
        """Return the context that the transports below see while the call is being sent."""
        scope = context.set_value(_IN_CALL, sending, without_baggage(self._context))
        return scope if self._current is None else trace.set_span_in_context(self._current, scope)

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the status line and the headers (lower-case names)."""
        self._status = status
        try:
            if self._format.read_headers is not None:
                self._format.read_headers(headers, self._answer)
            coding = headers.get("content-encoding", "")
            self._answered.open(headers.get("content-type", ""), coding)
            if self._answered.is_stream:
                self._is_stream = True
                option = self._format.usage_option
                if self.body_to_send is not None and option is not None and not coding:
                    self.hidden = HiddenUsage(option)
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("read the headers of an answer", error)

    def packed(self, coding: str) -> None:
        """Take that the bytes to come are in the content coding, which `answered` did not say."""
        with ours("read the headers of an answer"):
            self._answered.unpack(coding)

    def fail(self, error: BaseException) -> None:
        """End the call with what was known when the transport or the application gave up."""
        self._end(type(error).__qualname__)

    def end(self) -> None:
        """End the call: the body is over, closed or abandoned. A second time does nothing."""
        self._end("")

    def _end(self, error_type: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        try:
            self._finish(error_type)
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("end a call", error)

    def _finish(self, error_type: str) -> None:
        self._answered.end()
        try:
            if self._format.read_request is not None and self._body and self._is_answered:
                self._format.read_request(json.loads(self._body), self._answer)
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("read the end of an answer", error)
        try:
            self._conclude(error_type)
        except Exception as error:  # noqa: BLE001  ours, not the application's
            note("write a span", error)

    def _conclude(self, error_type: str) -> None:
        """Write the span, or have it written when its tokens are counted."""
        if self._status >= _REFUSED:
            error_type = str(self._status)
        error_type = error_type or self._answer.error_type
        if not self._endpoint.is_certain and not error_type and not self._looks_like_an_answer():
            return  # an unknown host that answers something else: its span is never ended
        end_ns = time.time_ns()
        source = "unknown" if self._answer.usage is None else "provider"
        if self._endpoint.is_retrieval:
            self._write_retrieved(end_ns)
            return
        if self._answer.is_background and self._is_answered:
            source = self._note_background(source)
        elif self._lacks_usage():
            if self._other is not None and self._other.is_recording():
                # It ends at once and may not wait: what is counted comes in a span of ours.
                self._write(error_type, end_ns, source)
                self._answer.parts = []
            if estimate.estimator.submit(lambda: self._estimate_and_write(error_type, end_ns)):
                return
        self._write(error_type, end_ns, source)

    def _note_background(self, source: str) -> str:
        """Remember what is still to be said, or that nothing is; return the usage source."""
        response_id = self._answer.response_id
        if self._answer.usage is not None:
            background.book(response_id)
            return source
        said = dict(self._attributes)
        call = self._span or self._other
        if call is not None:
            said[semconv.CALL_ID] = span.call_id(call)
        background.defer(response_id, said)
        return "deferred"

    def _write_retrieved(self, end_ns: int) -> None:
        answer = self._answer
        if not (self._is_answered and answer.is_background and answer.usage is not None):
            return
        said = background.book(answer.response_id)
        if said is not None:
            self._attributes |= said
            self._write("", end_ns, "provider")

    @property
    def _is_answered(self) -> bool:
        return 0 < self._status < _REFUSED

    def _looks_like_an_answer(self) -> bool:
        said = self._answer
        return bool(said.usage or said.response_id or said.finish_reasons)

    def _lacks_usage(self) -> bool:
        """Whether something was said or being said that the provider bills and gave no count of."""
        if self._body is None or not self._is_answered:
            return False
        if not estimate.is_possible(self._format, self._endpoint.operation):
            return False
        said = self._answer
        if said.usage is not None:
            was_cut = self._is_stream and not said.finish_reasons
            return was_cut and self._format.opens_with_usage
        return bool(said.finish_reasons or said.response_id or said.model) and not said.error_type

    def _estimate_and_write(self, error_type: str, end_ns: int) -> None:
        source = "unknown" if self._answer.usage is None else "provider"
        try:
            with ours("estimate tokens"):
                if self._answer.usage is None and self._reread():
                    source = "provider"
                else:
                    self._answer.usage = self._estimated()
                    source = "estimated"
        finally:
            with ours("write a span"):
                self._write(error_type, end_ns, source)

    def _reread(self) -> bool:
        """Read every event, not only what looked of interest; return whether one states usage."""
        again, read = Answer(), self._format.reader()
        for event in self._answered.events():
            with ours("read an event of an answer"):
                read(event, again)
        if again.usage is not None:
            self._answer = again
        return again.usage is not None

    def _estimated(self) -> Usage:
        usage = self._answer.usage or Usage()
        model = self._answer.model or self._model
        given = usage.input_tokens
        if given is None:
            given = estimate.input_tokens(self._body or b"", self._format, model)
        made = usage.output_tokens
        if self._endpoint.operation != "embeddings":
            events = self._answered.events()
            counted = estimate.output_tokens(events, self._format, model)
            made = max(made or 0, counted)
        return replace(usage, input_tokens=given, output_tokens=made)

    def _write(self, error_type: str, end_ns: int, source: str) -> None:
        fresh = span.describe(self._answer, source)
        if self._status:
            fresh[semconv.HTTP_STATUS] = self._status
        first_chunk = self._answered.first_chunk
        if self._is_stream and first_chunk is not None:
            fresh[semconv.TIME_TO_FIRST_CHUNK] = first_chunk - self._started
        if self._span is None:
            said = self._attributes | fresh
            if self._other is not None and (self._is_told or not span.has_usage(self._other)):
                if self._other.is_recording():
                    span.complete(self._other, said)
                    self._is_told = True
                    self._write_parts(fresh, end_ns)
                    return
                # It ended before the body did, or before its tokens were counted: say it ourselves.
                said[semconv.CALL_ID] = span.call_id(self._other)
            self._span = span.start_in(self._tracer, said, self._start_ns, self._context)
        # The request's attributes are there since the start: writing them again costs the caller.
        span.close(self._span, fresh, error_type, end_ns)
        self._write_parts(fresh, end_ns)

    def _write_parts(self, fresh: span.Attributes, end_ns: int) -> None:
        for part in self._answer.parts:
            attributes = span.of_part(part, self._attributes | fresh)
            opened = span.start_in(self._tracer, attributes, self._start_ns, self._context)
            opened.end(end_ns)

    def __del__(self) -> None:
        """End the call of a stream that nobody read or closed."""
        if not getattr(self, "_is_over", True):
            self.end()


class _Sending:
    """Sets the context of a call for the time of a `with`.

    A task or thread that was started meanwhile keeps the context: then `is_on` is False, and its
    own calls count.
    """

    __slots__ = ("_exchange", "_token", "is_on")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
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
        del self._exchange  # whoever keeps the context must not keep the call
        if self._token is not None:
            context.detach(self._token)
        if error is not None:
            exchange.fail(error)
