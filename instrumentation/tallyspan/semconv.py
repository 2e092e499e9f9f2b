"""Names of the span attributes we write, each with where it is defined.

`gen_ai.*`: OpenTelemetry GenAI conventions (development). `gen_ai.provider.name` since 1.37,
`gen_ai.usage.cache_read.input_tokens` since 1.40, `gen_ai.usage.reasoning.output_tokens` and
`gen_ai.response.time_to_first_chunk` since 1.41, `gen_ai.usage.cache_write.input_tokens` and the
modalities after the move to their own repository. `tallyspan.*`: ours, where there is no standard.
"""

from tallyspan.meters import COLUMN_METERS

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
CONVERSATION_ID = "gen_ai.conversation.id"
AGENT_ID = "gen_ai.agent.id"
AGENT_NAME = "gen_ai.agent.name"
USER_ID = "user.id"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"
HTTP_STATUS = "http.response.status_code"

CALL_OPERATIONS = frozenset({"chat", "generate_content", "text_completion", "embeddings"})
"""Operations that are calls of a model billed by the tokens of their text."""

DEPARTMENT = "tallyspan.department"
ENDPOINT_ID = "tallyspan.endpoint.id"
USAGE_SOURCE = "tallyspan.usage.source"
SERVICE_TIER = "tallyspan.service_tier"
REPORTED_COST_USD = "tallyspan.cost.reported_usd"
# `<trace id>-<span id>` of another span that is this same call.
CALL_ID = "tallyspan.call.id"
# Kind of a model call inside the answer of another: advisor_message, compaction, image_gen.
CALL_PART = "tallyspan.call.part"
# Paths of the provider's usage that no rule reads.
USAGE_UNREAD = "tallyspan.usage.unread"
# Id of a batch, or of the file that its results were read from.
BATCH_ID = "tallyspan.batch.id"
BATCH_FILE = "tallyspan.batch.file"
# Files that the batch names: its results are in them.
BATCH_FILES = "tallyspan.batch.files"
# What the span says of the batch: created, state, results.
BATCH_EVENT = "tallyspan.batch.event"
# Operation of the calls in it: chat, embeddings, ...
BATCH_OPERATION = "tallyspan.batch.operation"
# How many results the sum is of.
BATCH_REQUESTS = "tallyspan.batch.requests"
# Names of the amounts of each item, and the items: key, time, id, amounts, with spaces in between.
BATCH_COLUMNS = "tallyspan.batch.columns"
BATCH_ITEMS = "tallyspan.batch.items"
# What each result bills where it does not say so itself: `<meter or condition>=<value>`.
BATCH_EACH = "tallyspan.batch.each"
# Requests to providers that no format knows, as `<how many> <method> <host><path>`.
NOT_UNDERSTOOD = "tallyspan.requests.not_understood"
TAG_PREFIX = "tallyspan.tag."

# Field of `Usage` -> attribute that carries it.
USAGE_ATTRIBUTES: dict[str, str] = {meter.name: meter.attribute for meter in COLUMN_METERS}
