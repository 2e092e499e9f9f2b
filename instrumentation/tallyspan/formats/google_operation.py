"""Videos of Veo: who started an operation, and what each video that it makes will bill.

It is billed by the second of the videos that it made, when it is done; how long they are is said by
the request alone. Source: the API references of Gemini and Vertex AI, google-genai 2.34 and 3.6.
"""

from tallyspan.answer import Answer, Json, amount, mapping, text
from tallyspan.batch import Batch
from tallyspan.batch_format import of_state
from tallyspan.providers import GEMINI
from tallyspan.wire_format import Path

DEFAULT_SECONDS = 8
"""Where the request does not say how long a video is to be (both references)."""


def read(body: Json, answer: Answer) -> None:
    """Take the name of the operation."""
    answer.batch = Batch(operation_id(body), tier="")


def read_request(body: Json, answer: Answer) -> None:
    """Take what each video will bill."""
    parameters = mapping(body.get("parameters"))
    if answer.batch is None:
        return
    seconds = amount(parameters.get("durationSeconds"))
    answer.batch.each["video_seconds"] = DEFAULT_SECONDS if seconds is None else seconds
    if resolution := text(parameters.get("resolution")):
        answer.batch.each["resolution"] = resolution
    if parameters.get("generateAudio") is False:
        answer.batch.each["sound"] = "silent"


def operation_id(body: Json) -> str:
    """Return the last part of an operation's name, by which it is asked for."""
    above, _, name = text(body.get("name")).rpartition("/")
    return name if above.endswith("/operations") else ""


FORMAT = of_state(
    "google_operation",
    GEMINI,
    (
        Path(
            r"/models/(?P<model>veo[^/:]*):predictLongRunning",
            "generate_content",
            example="/v1beta/models/veo-3.1-generate-preview:predictLongRunning",
            is_batch=True,
        ),
    ),
    read,
    no_estimate="an operation bills what it made, when it is done",
    read_request=read_request,
)
