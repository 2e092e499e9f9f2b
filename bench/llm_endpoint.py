"""A chat-completions endpoint and an OTLP/HTTP receiver, as cheap as can be, on a free port.

`POST .../chat/completions` answers a fixed completion, or a stream of CHUNKS events with one HTTP
chunk each, as providers send them. `POST /v1/traces` is accepted and dropped. Everything is built
beforehand, so that the server's own time is small and constant. Prints its port and CHUNKS when it
listens.
"""

import asyncio
import json

CHUNKS = 500
CHUNK = {
    "id": "chatcmpl-0123456789abcdef",
    "object": "chat.completion.chunk",
    "created": 1_790_000_000,
    "model": "gpt-5-mini-2025-08-07",
    "service_tier": "default",
    "usage": None,
}
USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 500,
    "total_tokens": 620,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}


def _answer(content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _completion() -> bytes:
    message = {"role": "assistant", "content": "word " * 100, "refusal": None}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
    completion = {**CHUNK, "object": "chat.completion", "usage": USAGE, "choices": [choice]}
    return _answer("application/json", json.dumps(completion).encode())


def _choice(content: str, finish_reason: str | None) -> list[dict[str, object]]:
    delta = {"content": content} if content else {}
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]


def _stream() -> bytes:
    chunks: list[dict[str, object]] = [{**CHUNK, "choices": _choice("word ", None)}] * (CHUNKS - 2)
    chunks += [{**CHUNK, "choices": _choice("", "stop")}, {**CHUNK, "usage": USAGE, "choices": []}]
    events = [b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks]
    events.append(b"data: [DONE]\n\n")
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return head + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in events) + b"0\r\n\r\n"


async def _serve() -> None:
    completion, stream, accepted = _completion(), _stream(), _answer("application/x-protobuf", b"")

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                if b"/v1/traces" in head:
                    writer.write(accepted)
                else:
                    is_stream = b'"stream":true' in body.replace(b" ", b"")
                    writer.write(stream if is_stream else completion)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], CHUNKS, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
