"""gRPC methods that are LLM calls: the HTTP request that each stands for, and its message as JSON.

Google's services have the same methods over HTTP, so such a call is recognised, and its answer
read, as that request (google.api.http in their protos). xAI's have none: their path is the
method's own name, and `formats/xai_grpc.py` reads them.

A message is read through its descriptor: no package of a provider is imported.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from tallyspan.answer import Json

MAX_FIELDS = 5_000
"""Of one message; what follows is left out."""
MAX_DEPTH = 16
MAX_CHARACTERS = 256
"""Of a text: ids, names and queries are shorter, and what is longer is content."""
_CONTENT = frozenset(
    {"content", "message", "delta", "parts", "logprobs", "logprobsResult", "citations",
     "debugOutput", "settings"}
)  # fmt: skip
"""What was written and generated: none of it is read."""


@dataclass(frozen=True, slots=True)
class Method:
    """The HTTP request that a gRPC method stands for.

    `path` has names of the request's fields in braces. `fields`: what else of the request is read.
    """

    verb: str
    path: str
    fields: tuple[str, ...] = ()

    def request(self, message: Any) -> tuple[str, Json]:
        """Return the path for a request, and the body of what is read of it."""
        names = {name for _, name, _, _ in Formatter().parse(self.path) if name}
        path = self.path.format_map({name: getattr(message, name) for name in names})
        return path, {name: getattr(message, name) for name in self.fields}


def _google(
    package: str, service: str, field: str, verbs: Iterable[str]
) -> Iterator[tuple[str, Method]]:
    for version in ("v1", "v1beta", "v1beta1", "v1beta2", "v1beta3", "v1alpha"):
        for verb in verbs:
            name = f"/{package}.{version}.{service}/{verb[0].upper()}{verb[1:]}"
            yield name, Method("POST", f"/{version}/{{{field}}}:{verb}")


_XAI = "/xai_api."
_MODEL = ("model", "user")
METHODS: Mapping[str, Method] = dict(
    (
        *_google("google.cloud.aiplatform", "PredictionService", "model",
                 ("generateContent", "streamGenerateContent", "embedContent")),
        *_google("google.cloud.aiplatform", "PredictionService", "endpoint", ("predict",)),
        *_google("google.ai.generativelanguage", "GenerativeService", "model",
                 ("generateContent", "streamGenerateContent", "embedContent",
                  "batchEmbedContents")),
        *_google("google.ai.generativelanguage", "PredictionService", "model", ("predict",)),
        *(
            (f"{_XAI}{name}", Method("POST", f"{_XAI}{name}", _MODEL))
            for name in ("Chat/GetCompletion", "Chat/GetCompletionChunk", "Chat/CompactContext",
                         "Chat/StartDeferredCompletion", "Sample/SampleText",
                         "Sample/SampleTextStreaming", "Image/GenerateImage",
                         "Video/GenerateVideo", "Video/ExtendVideo", "Embedder/Embed")
        ),
        *(
            (f"{_XAI}{name}", Method("GET", f"{_XAI}{name}/{{request_id}}"))
            for name in ("Chat/GetDeferredCompletion", "Video/GetDeferredVideo")
        ),
    )
)  # fmt: skip
"""By the full name of the method."""
_SERVICE = re.compile(
    r"/(?P<package>xai_api|google\.cloud\.aiplatform|google\.ai\.generativelanguage)(?:\.v\w+)?"
    r"\.(?P<service>Chat|Sample|Image|Video|Embedder|Documents|BatchMgmt|PredictionService"
    r"|GenerativeService|BidiGenerateContent\w*)/(?P<method>(?!Get|List|Delete|Cancel|Count)\w+)"
)
"""Methods of services that bill, but for those that only look or take away."""


def method_of(name: str) -> Method | None:
    """Return what the method of that full name stands for; None: it bills nothing.

    One that bills and that nobody knows stands for a request that no format knows, so that it is
    counted as not understood.
    """
    method = METHODS.get(name)
    if method is not None:
        return method
    match = _SERVICE.fullmatch(name)
    if match is None:
        return None
    words = match["package"].rpartition(".")[2], match["service"], match["method"]
    return Method("POST", "/" + "/".join(word[0].lower() + word[1:] for word in words))


def as_json(message: Any, *, lists_alone: bool = False) -> tuple[Json, bool]:
    """Return the message as protobuf's JSON has it, and whether it was too large to be read whole.

    Bytes, vectors and content are left out, and counts of 64 bits stay numbers. `message`: of
    protobuf. `lists_alone`: only its repeated fields, for what else the chunk of a stream has (its
    counts, its model) the next one has again.
    """
    reading = _Reading()
    content = reading.message(message, 0, lists_alone=lists_alone)
    return content, reading.is_cut


def plain(message: Any) -> Any:
    """Return the message of protobuf that one of proto-plus wraps; any other as it is."""
    return getattr(message, "_pb", message)


class _Reading:
    """Reads one message; what repeats comes last, so that a long list costs no count beside it."""

    def __init__(self) -> None:
        self._room = MAX_FIELDS
        self.is_cut = False

    def message(self, message: Any, depth: int, *, lists_alone: bool = False) -> Json:
        content: Json = {}
        fields = message.ListFields()
        if lists_alone:
            fields = filter(_is_list, fields)
        elif len(fields) > 1:
            fields = sorted(fields, key=_is_list)
        for field, value in fields:
            name = field.json_name
            if name in _CONTENT or not self._has_room(depth):
                continue
            names = None if field.enum_type is None else field.enum_type.values_by_number
            read = self._value(value, names, depth)
            if read is not None:
                content[name] = read
        return content

    def _has_room(self, depth: int) -> bool:
        self._room -= 1
        self.is_cut = self.is_cut or self._room < 0 or depth > MAX_DEPTH
        return self._room >= 0 and depth <= MAX_DEPTH

    def _value(self, value: Any, names: Any, depth: int) -> Any:
        """Return a field's value; None: it is left out. `names`: of an enum, by number."""
        if isinstance(value, str):
            return value[:MAX_CHARACTERS]
        if isinstance(value, int | float):
            return value if names is None or value not in names else names[value].name
        if isinstance(value, bytes):
            return None
        if hasattr(value, "ListFields"):
            return self._inner(value, depth + 1)
        if hasattr(value, "items"):
            return self._map(value, depth + 1)
        return self._list(value, names, depth + 1)

    def _inner(self, message: Any, depth: int) -> Any:
        """Return what a message inside another is; Google's own for JSON are the JSON they hold."""
        match message.DESCRIPTOR.full_name:
            case "google.protobuf.Value":
                kind = message.WhichOneof("kind")
                if kind in {None, "null_value"}:
                    return None
                value = getattr(message, kind)
                if kind == "number_value" and value.is_integer():
                    return int(value)
                return self._value(value, None, depth)
            case "google.protobuf.Struct":
                return self._map(message.fields, depth)
            case "google.protobuf.ListValue":
                values = message.values
                is_vector = values and values[0].WhichOneof("kind") == "number_value"
                return None if is_vector else self._list(values, None, depth)
            case _:
                return self.message(message, depth)

    def _map(self, table: Any, depth: int) -> Json:
        content: Json = {}
        for key in table:
            if not self._has_room(depth):
                break
            if (read := self._value(table[key], None, depth)) is not None:
                content[str(key)[:MAX_CHARACTERS]] = read
        return content

    def _list(self, values: Any, names: Any, depth: int) -> list[Any] | None:
        if len(values) and isinstance(values[0], float):
            return None
        content = []
        for value in values:
            if not self._has_room(depth):
                break
            if (read := self._value(value, names, depth)) is not None:
                content.append(read)
        return content


def _is_list(field: tuple[Any, Any]) -> bool:
    value = field[1]
    return not (isinstance(value, str | int | float | bytes) or hasattr(value, "ListFields"))
