"""The schema as data: what the ledger's columns, measures, rollups and views are, each once.

DDL, grants, what the API and the report group, filter and show by, the sums of dashboards and the
tables in the documentation are made of these values: `python -m tallyspan_clickhouse.generate`.
"""

from tallyspan_clickhouse.schema_types import (
    CONVERSATION_HASH,
    PART,
    CallColumn,
    Column,
    Dimension,
    Figure,
    Measure,
    Net,
    Rollup,
    RollupTable,
    Schema,
    View,
)

LEDGER = "llm_calls"
IMPORTED = "imported"
"""Kind of the entries of what a provider reports and no span tells of."""
TRUE_UP = "true_up"
"""Kind of the entries of what a bill has and the ledger has not, below 0 where it has less."""
PRIOR_PERIOD = "prior_period"
"""Kind of the entries that move what changed in a closed month to the first open month after it."""
OF_NO_CALL = ("commitment", IMPORTED, TRUE_UP, PRIOR_PERIOD)
"""Kinds of entries that belong to no call and count none."""
NOT_OF_CALLS = (
    "commitment_cost_usd", "plan_cost_usd", "unused_cost_usd", "imported_cost_usd",
    "true_up_cost_usd", "prior_period_cost_usd",
)  # fmt: skip
"""Parts of `cost_usd` that are of no call."""
KEY, LATEST, SUM = Net.KEY, Net.LATEST, Net.SUM
TEXT, LABEL = "String", "LowCardinality(String)"
COUNT, USD = "Nullable(Int64)", "Nullable(Decimal(18, 12))"
ZSTD, T64 = "ZSTD(1)", "T64, ZSTD(1)"
# Costs of calls of one model are multiples of the price of a token, and stand beside each other.
OF_PRICE = "GCD, T64('bit'), ZSTD(1)"
_UNPRICED = "cost_status = 'unpriced' AND NOT is_notional AND entry_kind != 'price_change'"


def _dimension(group: str, filter_: str = "", values: tuple[str, ...] = ()) -> Dimension:
    return Dimension(group, filter_ or group, values)


def _count(name: str, comment: str, *, is_listed: bool = False, field: str = "") -> Column:
    return Column(name, COUNT, comment, codec=T64, net=SUM, is_listed=is_listed, field=field)


COLUMNS = (
    Column("start_time", "DateTime64(6, 'UTC')", "When the request left the application (UTC, microseconds)",
           codec="Delta(8), ZSTD(1)", net=KEY, field="timestamp"),
    Column("entry_kind", LABEL, "call, reversal (of a call found to be a duplicate), price_change (the difference a new price makes), correction (a call that is booked or taken back otherwise, as one that only LibreChat has), commitment (a share of what is paid whether it is used or not; of no call), imported (usage that the provider reports and no span tells of; of no call), true_up (what a bill has and the ledger has not, below 0 where it has less; of no call) or prior_period (a correction of a closed month, taken out of it and booked in an open one; of no call)"),
    Column("sign", "Int8", "Calls this entry adds: 1 for a call, -1 for a reversal, 0 for a price change and what is of no call; count calls with sum(sign)"),
    Column("user_id", TEXT, "Whom the call was made for; empty when nobody said",
           codec=ZSTD, net=KEY, dimension=_dimension("user", "user_id")),
    Column("department", LABEL, "Department that pays; empty when nobody said",
           net=KEY, dimension=_dimension("department")),
    Column("department_source", LABEL, "Who named the department: span, directory or key (of the ingest key); empty when nobody did"),
    Column("agent_id", LABEL, "Agent or assistant that made the call; empty for none",
           net=KEY, dimension=_dimension("agent", "agent_id")),
    Column("agent_name", LABEL, "Name of that agent", net=LATEST, is_listed=False),
    Column("conversation_id", TEXT, "Conversation, chat or session the call belongs to; empty for none",
           codec=ZSTD, net=KEY, dimension=_dimension("conversation", "conversation_id")),
    Column("model_name", LABEL, "Model for reports and prices: as the provider names it, else as asked for",
           net=KEY, dimension=_dimension("model")),
    Column("endpoint_id", LABEL, "Endpoint (provider host, gateway or contract) the call went to",
           net=KEY, dimension=_dimension("endpoint", "endpoint_id")),
    Column("provider_name", LABEL, "Provider: openai, anthropic, gcp.gemini, ...",
           net=KEY, dimension=_dimension("provider"), field="provider"),
    Column("service_name", LABEL, "service.name of the emitting service",
           net=KEY, dimension=_dimension("service"), field="service"),
    Column("source", LABEL, "Name of the ingest key that delivered the call, import:<name> of what was imported, or bill:<name> of a true-up; empty without keys",
           net=LATEST, dimension=_dimension("source")),
    Column("tenant", LABEL, "Organisation the call belongs to; empty where there is one only",
           net=KEY, dimension=_dimension("tenant")),
    Column("operation_name", LABEL, "Operation: chat, embeddings, generate_content, ...",
           net=KEY, dimension=_dimension("operation"), field="operation"),
    Column("request_model", LABEL, "Model asked for", net=LATEST),
    Column("response_model", LABEL, "Model as the answer names it; empty when it does not"),
    Column("service_tier", LABEL, "Tier the provider served (not the one asked for): default, flex, priority, batch, ...; empty: not stated",
           net=LATEST, dimension=_dimension("service_tier")),
    Column("server_address", LABEL, "Host the request was sent to"),
    Column("is_stream", "Bool", "Whether the answer was streamed", net=LATEST),
    Column("status", LABEL, "How the call ended: ok or error",
           net=LATEST, dimension=_dimension("status", values=("ok", "error"))),
    Column("error_type", LABEL, "HTTP status or exception the call ended with; empty when ok",
           net=LATEST, dimension=_dimension("error_type")),
    Column("finish_reason", LABEL, "Why the model stopped (first choice)", net=LATEST, is_listed=False),
    _count("input_tokens", "Prompt tokens, cache reads and writes, audio and images included; NULL: unknown",
           is_listed=True, field="prompt_tokens"),
    _count("output_tokens", "Generated tokens, reasoning and audio included; NULL: unknown",
           is_listed=True, field="completion_tokens"),
    _count("cache_read_tokens", "Part of input_tokens read from the provider's cache; NULL: not stated", is_listed=True),
    _count("cache_write_tokens", "Part of input_tokens written to the provider's cache; NULL: not stated", is_listed=True),
    _count("cache_write_1h_tokens", "Part of cache_write_tokens kept for one hour; NULL: not stated"),
    _count("cache_read_audio_tokens", "Part of cache_read_tokens that was audio; NULL: not stated"),
    _count("reasoning_tokens", "Part of output_tokens spent on reasoning; NULL: not stated", is_listed=True),
    _count("input_audio_tokens", "Part of input_tokens that was audio; NULL: not stated"),
    _count("output_audio_tokens", "Part of output_tokens that was audio; NULL: not stated"),
    _count("input_image_tokens", "Part of input_tokens that was images; NULL: not stated"),
    _count("output_image_tokens", "Part of output_tokens that was images; NULL: not stated"),
    Column("usage_source", LABEL, "Where the counts come from: provider, estimated, unknown or deferred (another span states them)",
           net=LATEST, dimension=_dimension("usage_source", values=("provider", "estimated", "unknown", "deferred"))),
    Column("cost_usd", USD, "Cost of the entry in USD, exact to the pico-dollar; NULL: not priced, see cost_status", codec=OF_PRICE,
           net=SUM, is_in_calls=False),
    Column("input_cost_usd", USD, "Part of cost_usd for the prompt, in USD", codec=OF_PRICE, net=SUM, is_listed=False),
    Column("output_cost_usd", USD, "Part of cost_usd for the answer, in USD", codec=OF_PRICE, net=SUM, is_listed=False),
    Column("cache_saved_usd", USD, "What the provider's cache saved, in USD: the cost with all reads and writes as plain input, less the cost; below 0: writes cost more than reads saved; NULL: no cache used, or not priced",
           codec=OF_PRICE, net=SUM, is_in_calls=False),
    Column("cost_status", LABEL, "priced, reported (the provider stated the cost), unpriced (no price or no tokens, see unpriced_reason) or not_billed (the request was refused, or never left the client); of a commitment: commitment, plan or unused",
           usage="if(l.is_notional, 'notional', l.cost_status)",
           usage_comment="priced, reported, unpriced, not_billed or notional (of no call: commitment, plan, unused), when the entry was booked: a call that got its price later is unpriced here, and unpriced_calls takes it back"),
    Column("unpriced_reason", LABEL, "Why there is no cost: unknown_model, unknown_usage, ...; empty when there is one", net=LATEST),
    Column("price_id", LABEL, "Price entry that was used", net=LATEST),
    Column("price_source", LABEL, "Where that price comes from: models_pricing.yaml, genai-prices <version> or provider", net=LATEST,
           usage_comment="Where the price comes from; a change of it later shows as a difference, without a call, under the new one"),
    Column("price_flags", "Array(LowCardinality(String))", "What is doubtful about the price: deployment_unknown, unpriced_meter, ...; empty when nothing is",
           codec=ZSTD, net=LATEST),
    Column("other_cost_usd", USD, "What the call costs if what price_flags doubts is decided the other way, in USD; NULL: nothing is in doubt",
           codec=OF_PRICE, net=LATEST, is_listed=False),
    Column("reported_cost_usd", USD, "Cost in USD as the provider itself stated it; NULL: it did not", codec=OF_PRICE, net=SUM, is_listed=False),
    Column("claimed_cost_usd", USD, "Cost in USD as the software that sent the span computed it, for comparison only; NULL: it did not",
           codec=OF_PRICE, net=SUM, is_listed=False),
    Column("is_notional", "Bool", "Paid by a subscription or a commitment: cost_usd is what the call would have cost and is never billed", default="false"),
    Column("unpriced_calls", "Int8", "Unpriced calls this entry adds; -1 in the price change that prices one; count with sum()",
           default=f"if({_UNPRICED}, sign, 0)"),
    Column("unpriced_tokens", "Int64", "Tokens without a price this entry adds; a price change takes them back",
           codec=T64, default=f"if({_UNPRICED}, ifNull(input_tokens, 0) + ifNull(output_tokens, 0), 0)"),
    Column("duration_us", "UInt64", "From the request to the last byte of the answer, in microseconds", codec=T64, net=LATEST),
    Column("time_to_first_chunk_us", "Nullable(UInt64)", "From the request to the first chunk of a stream, in microseconds; NULL: no stream",
           codec=T64, net=LATEST, is_listed=False),
    Column("tags", "Map(LowCardinality(String), String)", "Free tags: tallyspan.tag.<key> of the span", codec=ZSTD, net=LATEST),
    Column("meters", "Map(LowCardinality(String), Float64)", "What was used in the meters without a column of their own: web_search, images, seconds, input_video_tokens, ...",
           codec=ZSTD, net=LATEST, is_listed=False),
    Column("conditions", "Map(LowCardinality(String), LowCardinality(String))", "What the price depends on beside model and tier: geo, region, deployment, ...",
           codec=ZSTD, net=LATEST, is_listed=False),
    Column("quality_flags", "Array(LowCardinality(String))", "What is doubtful about the call: inferred, total_mismatch, ...; empty when nothing is",
           codec=ZSTD, net=LATEST),
    Column("unread", "Array(LowCardinality(String))", "Places in the usage that no rule reads, at most 16; empty when all is read: what they are billed for may be missing in the cost",
           codec=ZSTD, net=LATEST, is_listed=False),
    Column("trace_id", "FixedString(32)", "Trace id, 32 lower-case hex digits", codec=ZSTD, net=KEY, is_listed=False),
    Column("span_id", "FixedString(16)", "Span id, 16 lower-case hex digits", codec=ZSTD, net=KEY, is_listed=False),
    Column("parent_span_id", TEXT, "Span id of the parent, hex; empty for a root span", codec=ZSTD, net=LATEST, is_listed=False),
    Column("part", LABEL, "Kind of a model call inside the answer of another, such as advisor; or what of a batch it is: batch_item, batch_total (its sum, no result was read), batch_rest (what its results leave of the sum); empty for a call of its own",
           net=LATEST, is_listed=False),
    Column("response_id", TEXT, "Id the provider gave its answer, kept for 40 days: it takes a quarter of a row; empty when it gave none",
           codec=ZSTD, ttl="toDateTime(start_time) + INTERVAL 40 DAY", net=LATEST),
    Column("scope_name", LABEL, "Instrumentation scope that made the span"),
    Column("collector", LABEL, "Collector that booked the entry: its host and data folder; empty when a command did"),
    Column("batch_id", "UInt64", "Batch the entry was inserted with", codec=ZSTD),
    Column("ingested_at", "DateTime64(3, 'UTC')", "When the collector booked the entry (UTC, milliseconds)", codec="Delta(8), ZSTD(1)"),
)  # fmt: skip

_IS_NOTIONAL = "argMaxIf(l.is_notional, l.ingested_at, l.sign >= 0)"
_LOG_ID = "concat(toString(l.trace_id), '-', toString(l.span_id))"
_TOTAL = "if({0} IS NULL AND {1} IS NULL, NULL, ifNull({0}, 0) + ifNull({1}, 0))"
CALL_COLUMNS = (
    CallColumn("log_id", TEXT, "Identity of the call: <trace id>-<span id>",
               _LOG_ID, _LOG_ID, after="start_time"),
    CallColumn("total_tokens", COUNT, "input_tokens + output_tokens; NULL: unknown",
               _TOTAL.format("l.input_tokens", "l.output_tokens"),
               _TOTAL.format("sum(l.input_tokens)", "sum(l.output_tokens)"), after="output_tokens"),
    CallColumn("cost_usd", "Nullable(Decimal(38, 12))",
               "Billed cost in USD, net of reversals and price changes; 0 when notional; NULL: not priced",
               "if(l.is_notional, 0, l.cost_usd)", f"if({_IS_NOTIONAL}, 0, sum(l.cost_usd))",
               after="usage_source", field="estimated_cost_usd"),
    CallColumn("cost_status", LABEL, "Whether there is a cost, and whose: priced, reported, unpriced, not_billed or notional",
               "if(l.is_notional, 'notional', l.cost_status)",
               f"if({_IS_NOTIONAL}, 'notional', argMaxIf(l.cost_status, l.ingested_at, l.sign >= 0))",
               after="usage_source",
               dimension=_dimension("cost_status", values=("priced", "reported", "unpriced", "not_billed", "notional"))),
    CallColumn("notional_cost_usd", "Nullable(Decimal(38, 12))",
               "What a call that a subscription or a commitment pays for would have cost, in USD; it is not billed; NULL: billed or not priced",
               "if(l.is_notional, l.cost_usd, NULL)", f"if({_IS_NOTIONAL}, sum(l.cost_usd), NULL)",
               after="unpriced_reason"),
    CallColumn("cache_saved_usd", "Nullable(Decimal(38, 12))",
               "What the provider's cache saved of cost_usd, in USD; below 0: writes cost more than reads saved; NULL: no cache used, not priced or not billed",
               "if(l.is_notional, NULL, l.cache_saved_usd)", f"if({_IS_NOTIONAL}, NULL, sum(l.cache_saved_usd))",
               after="unpriced_reason"),
    CallColumn("ingested_at", "DateTime64(3, 'UTC')", "When the collector last booked the call (UTC)",
               "l.ingested_at", "max(l.ingested_at)", after="response_id", is_listed=False),
)  # fmt: skip
"""Columns of `calls` that are no column of the ledger as it is."""

TOKEN_USAGE = (
    "log_id", "user_id", "department", "agent_id", "conversation_id", "model_name", "endpoint_id",
    "prompt_tokens", "completion_tokens", "total_tokens", "estimated_cost_usd", "timestamp",
)  # fmt: skip
"""The fields of the view `token_usage`, and the first ones of a call in the API."""


def _calls(
    name: str, comment: str, condition: str, call: str = "", *, is_everywhere: bool = True
) -> Measure:
    sum_over_calls = f"countIf({call})" if call else ""
    entry = f"l.sign * ({condition})"
    return Measure(name, "Int64", comment, entry, call=sum_over_calls, is_everywhere=is_everywhere)


def _tokens(kind: str, comment: str) -> tuple[Measure, Measure]:
    """Return the measure of a count that may be unknown, and that of the calls which state it."""
    tokens, count = f"{kind}_tokens", f"{kind}_stated"
    return (
        Measure(
            tokens, "Int64", comment,
            entry=f"ifNull(l.{tokens}, 0)", entry_or_null=f"l.{tokens}",
            view=f"if(r.{tokens} = 0 AND r.{count} = 0, NULL, r.{tokens})",
            view_type=COUNT, view_comment=f"{comment}; NULL: unknown",
            call=f"sum(c.{tokens})",
        ),
        Measure(
            count, "Int64", f"Calls that state {tokens}; when a group has 0 of them its tokens are unknown",
            entry=f"l.sign * isNotNull(l.{tokens})", call=f"countIf(c.{tokens} IS NOT NULL)",
        ),
    )  # fmt: skip


_ZERO = "toDecimal64(0, 12)"
_SUM_USD = "Decimal(38, 12)"


def _cost(
    name: str,
    comment: str,
    column: str,
    condition: str,
    call: str = "",
    *,
    is_everywhere: bool = True,
) -> Measure:
    entry = f"if({condition}, ifNull(l.{column}, {_ZERO}), {_ZERO})"
    return Measure(
        name, _SUM_USD, comment, entry, codec=ZSTD, call=call, is_everywhere=is_everywhere
    )


def _committed(kind: str, comment: str) -> Measure:
    condition = f"l.entry_kind = 'commitment' AND l.cost_status = '{kind}'"
    return _cost(f"{kind}_cost_usd", comment, "cost_usd", condition, call=_ZERO)


def _histogram(name: str, comment: str, microseconds: str, condition: str = "") -> Measure:
    """Return the calls by bucket of a time: quantiles are 2 % exact, from rollups too."""
    one = f"map(toInt16(round(20 * log2(greatest({microseconds}, 1)))), toInt64(l.sign))"
    entry = f"if({condition}, map(), {one})" if condition else one
    return Measure(
        name,
        "Map(Int16, Int64)",
        f"{comment}: the key is round(20 * log2(microseconds)), so 2 % exact",
        f"CAST({entry}, 'Map(Int16, Int64)')",
        codec=ZSTD,
        is_everywhere=False,
    )


MEASURES = (
    Measure("calls", "Int64", "Calls, net of reversals", "l.sign", call="count()"),
    _calls("errors", "Calls that ended in an error", "l.status = 'error'", "c.status = 'error'"),
    _calls("estimated_calls", "Calls whose tokens are an estimate",
           "l.usage_source = 'estimated'", "c.usage_source = 'estimated'"),
    _calls("unknown_usage_calls", "Calls whose tokens nobody stated, without those that cost nothing",
           "l.usage_source = 'unknown' AND l.cost_status != 'not_billed'",
           "c.usage_source = 'unknown' AND c.cost_status != 'not_billed'"),
    Measure("unpriced_calls", "Int64", "Calls without a price; they are missing in cost_usd",
            "l.unpriced_calls", call="countIf(c.cost_status = 'unpriced')"),
    Measure("unpriced_tokens", "Int64", "Tokens of the calls without a price",
            "l.unpriced_tokens", call="sumIf(c.total_tokens, c.cost_status = 'unpriced')"),
    _calls("notional_calls", "Calls that a subscription or a commitment pays for", "l.is_notional", "c.cost_status = 'notional'"),
    _calls("flagged_calls", "Calls with a quality flag",
           "notEmpty(l.quality_flags) OR notEmpty(l.price_flags)",
           "notEmpty(c.quality_flags) OR notEmpty(c.price_flags)"),
    _calls("streamed_calls", "Calls with a time to the first chunk",
           "isNotNull(l.time_to_first_chunk_us)", is_everywhere=False),
    Measure("reversals", "Int64", "Duplicates that were taken back", "toInt64(l.entry_kind = 'reversal')", is_everywhere=False),
    Measure("price_changes", "Int64", "Entries that changed a price afterwards", "toInt64(l.entry_kind = 'price_change')", is_everywhere=False),
    *_tokens("input", "Prompt tokens, cache included"),
    *_tokens("output", "Generated tokens, reasoning included"),
    *_tokens("cache_read", "Prompt tokens read from the cache"),
    *_tokens("cache_write", "Prompt tokens written to the cache"),
    *_tokens("reasoning", "Generated tokens spent on reasoning"),
    Measure("cost_usd", _SUM_USD, "Billed cost in USD; unpriced and notional calls add nothing",
            entry=f"if(l.is_notional, {_ZERO}, ifNull(l.cost_usd, {_ZERO}))",
            entry_or_null=f"if(l.is_notional, if(l.cost_usd IS NULL, NULL, {_ZERO}), l.cost_usd)",
            view="if(r.cost_usd = 0 AND r.calls = r.unpriced_calls, NULL, r.cost_usd)",
            view_type="Nullable(Decimal(38, 12))",
            view_comment="Billed cost in USD of the priced calls; a group with as many unpriced_calls as calls has none",
            codec=ZSTD, call="sum(c.cost_usd)"),
    _cost("input_cost_usd", "Part of the price for prompts, in USD", "input_cost_usd", "NOT l.is_notional", is_everywhere=False),
    _cost("output_cost_usd", "Part of the price for answers, in USD", "output_cost_usd", "NOT l.is_notional", is_everywhere=False),
    _cost("notional_cost_usd", "What calls that a subscription or a commitment pays for would have cost, in USD", "cost_usd", "l.is_notional",
          call="sum(c.notional_cost_usd)"),
    _cost("cache_saved_usd", "What caches saved of cost_usd, in USD, less what their writes cost more", "cache_saved_usd",
          "NOT l.is_notional", call="sum(c.cache_saved_usd)"),
    *(_committed(kind, comment) for kind, comment in (
        ("commitment", "Part of cost_usd: shares of provisioned throughput, in USD"),
        ("plan", "Part of cost_usd: shares of plans and seats, in USD"),
        ("unused", "Part of cost_usd: commitments, seats and minimums that nobody used, in USD"))),
    _cost("imported_cost_usd", "Part of cost_usd: what providers report and no span tells of, in USD", "cost_usd",
          f"l.entry_kind = '{IMPORTED}'", call=_ZERO),
    _cost("true_up_cost_usd", "Part of cost_usd: what bills have and nothing else in the ledger, in USD; below 0 where they have less",
          "cost_usd", f"l.entry_kind = '{TRUE_UP}'", call=_ZERO),
    _cost("prior_period_cost_usd", "Part of cost_usd: corrections of closed months, in USD; in a closed month, what was moved out of it",
          "cost_usd", f"l.entry_kind = '{PRIOR_PERIOD}'", call=_ZERO),
    Measure("no_user_calls", "Int64", "Calls that name no user", "l.sign * (l.user_id = '')", is_everywhere=False),
    Measure("no_conversation_calls", "Int64", "Calls that belong to no conversation",
            "l.sign * (l.conversation_id = '')", is_everywhere=False),
    Measure("duration_us", "Int64", "Sum of the durations, in microseconds", "l.sign * toInt64(l.duration_us)"),
    Measure("first_chunk_us", "Int64", "Sum of the times to the first chunk, in microseconds, over streamed_calls",
            "l.sign * toInt64(ifNull(l.time_to_first_chunk_us, 0))", is_everywhere=False),
    _histogram("durations", "Calls by duration", "l.duration_us"),
    _histogram("first_chunks", "Calls by time to the first chunk of a stream",
               "ifNull(l.time_to_first_chunk_us, 1)", "isNull(l.time_to_first_chunk_us)"),
    _histogram("lags", "Calls by the time from their end until they were booked",
               "dateDiff('microsecond', l.start_time, l.ingested_at) - toInt64(l.duration_us)"),
)  # fmt: skip

_PRICED = (
    "operation_name",
    "service_tier",
    "error_type",
    "usage_source",
    "cost_status",
    "unpriced_reason",
    "price_source",
)
_TIMED = ("durations", "first_chunks", "lags")
_RARE = (
    "streamed_calls",
    "first_chunk_us",
    "reversals",
    "price_changes",
    "input_cost_usd",
    "output_cost_usd",
)
_LACKING = ("no_user_calls", "no_conversation_calls")
TABLES = (
    RollupTable("rollup_hourly",
                ("tenant", "hour", "model_name", "department", "agent_id", "agent_name", "service_name", "provider_name",
                 "endpoint_id", "source", *_PRICED),
                "hour and all that has few values", (*_RARE, *_LACKING, *_TIMED)),
    RollupTable("rollup_days",
                ("tenant", PART, "day", "department", "model_name", "provider_name", "endpoint_id", "agent_id", "agent_name",
                 "service_name", "source", *_PRICED),
                "day, for each of the rollups by day that have few rows", (*_RARE, *_LACKING, *_TIMED),
                fed_by="rollup_hourly",
                parts=("agents_alone", "models_alone", "services", "agents", "totals", "models")),
    RollupTable("rollup_conversations",
                ("tenant", "day", "user_id", CONVERSATION_HASH, "conversation_id", "department", "model_name", "provider_name",
                 "endpoint_id", "agent_id", "agent_name", "service_name", "source", "hour"),
                "hour, user and conversation"),
    RollupTable("rollup_users", ("tenant", "day", "user_id", "department"), "day and user", fed_by="rollup_conversations"),
)  # fmt: skip
"""Tables that follow the ledger; one that others are fed by comes before them."""

_OF_MODEL = ("tenant", "day", "department", "model_name", "provider_name", "endpoint_id")
ROLLUPS = (
    Rollup("usage_by_agent_alone", "rollup_days", ("tenant", "day", "agent_id"),
           "UTC day and agent, of all departments", ("durations",), part="agents_alone"),
    Rollup("usage_by_model_alone", "rollup_days", ("tenant", "day", "model_name"),
           "UTC day and model, of all departments", ("durations", "first_chunks"), part="models_alone"),
    Rollup("usage_by_service", "rollup_days", ("tenant", "day", "service_name", "source", "department"),
           "UTC day, emitting service and ingest key", (*_RARE, *_LACKING, "lags"), part="services"),
    Rollup("usage_by_agent", "rollup_days", ("tenant", "day", "agent_id", "agent_name", "department"),
           "UTC day and agent", (*_RARE, "durations"), part="agents"),
    Rollup("usage_totals", "rollup_days", _OF_MODEL, "UTC day, department, model and endpoint",
           (*_RARE, *_TIMED), part="totals"),
    Rollup("usage_by_user", "rollup_users", ("tenant", "day", "user_id", "department"), "UTC day and user"),
    Rollup("usage_by_model", "rollup_days", (*_OF_MODEL, *_PRICED),
           "UTC day, department, model and how they were counted and priced", _RARE, part="models"),
    Rollup("usage_hourly", "rollup_hourly", TABLES[0].key,
           "hour, model, department, agent, service, and how they were counted and priced", TABLES[0].more),
    Rollup("usage_daily", "rollup_conversations",
           ("tenant", "day", "user_id", "department", "model_name", "provider_name", "endpoint_id", "service_name"),
           "UTC day, user and model"),
    Rollup("usage_by_conversation", "rollup_conversations", TABLES[2].key, "hour, user and conversation", has_few_rows=False),
)  # fmt: skip
"""Those of fewer rows first: a question is answered by the first one that can."""


def _tokens_sql(kind: str) -> str:
    return f"if(sum(p.{kind}_stated) = 0, NULL, sum(p.{kind}_tokens))"


FIGURES = (
    Figure("calls", "sum(p.calls)", "calls, net of duplicates"),
    Figure("errors", "sum(p.errors)", "those of them that failed"),
    Figure("input_tokens", _tokens_sql("input"), "prompt tokens, cache included; null: nobody stated them"),
    Figure("output_tokens", _tokens_sql("output"), "generated tokens, reasoning included; null: nobody stated them"),
    Figure("total_tokens", "if(sum(p.input_stated) = 0 AND sum(p.output_stated) = 0, NULL,"
           " sum(p.input_tokens) + sum(p.output_tokens))",
           "input_tokens + output_tokens; null: nobody stated them"),
    Figure("cache_read_tokens", _tokens_sql("cache_read"), "part of input_tokens read from the provider's cache"),
    Figure("cache_write_tokens", _tokens_sql("cache_write"), "part of input_tokens written to the provider's cache"),
    Figure("reasoning_tokens", _tokens_sql("reasoning"), "part of output_tokens spent on reasoning"),
    Figure("cost_usd", "if(sum(p.calls) = sum(p.unpriced_calls) AND sum(p.cost_usd) = 0, NULL, sum(p.cost_usd))",
           "billed cost in USD of the calls that have one, and of what is of no call: commitments, imports, true-up, corrections of closed months; null: none of them is priced"),
    Figure("use_cost_usd", "if(sum(p.calls) = sum(p.unpriced_calls), NULL, sum(p.cost_usd)"
           + "".join(f" - sum(p.{name})" for name in NOT_OF_CALLS) + ")",
           "part of cost_usd for calls that are billed one by one; null: none of them is priced"),
    Figure("commitment_cost_usd", "sum(p.commitment_cost_usd)", "part of cost_usd: used shares of provisioned throughput"),
    Figure("plan_cost_usd", "sum(p.plan_cost_usd)", "part of cost_usd: used shares of plans and seats"),
    Figure("unused_cost_usd", "sum(p.unused_cost_usd)",
           "part of cost_usd: commitments, seats and minimums that nobody used"),
    Figure("imported_cost_usd", "sum(p.imported_cost_usd)",
           "part of cost_usd: what providers report and no span tells of"),
    Figure("true_up_cost_usd", "sum(p.true_up_cost_usd)",
           "part of cost_usd: what bills have and nothing else in the ledger; below 0 where they have less"),
    Figure("prior_period_cost_usd", "sum(p.prior_period_cost_usd)",
           "part of cost_usd: corrections of closed months; in a closed month, what was moved out of it"),
    Figure("priced_calls", "sum(p.calls) - sum(p.unpriced_calls) - sum(p.notional_calls)",
           "calls with a billed cost; what a provider refused costs 0 and is among them"),
    Figure("unpriced_calls", "sum(p.unpriced_calls)",
           "calls that should have a cost and have none: they lack in cost_usd"),
    Figure("unpriced_tokens", "sum(p.unpriced_tokens)", "tokens of the calls without a price"),
    Figure("estimated_calls", "sum(p.estimated_calls)", "calls whose tokens, and so whose cost, are an estimate"),
    Figure("unknown_usage_calls", "sum(p.unknown_usage_calls)", "calls whose tokens nobody knows"),
    Figure("notional_calls", "sum(p.notional_calls)", "calls that a subscription or a commitment pays for: used, not billed one by one"),
    Figure("notional_cost_usd", "if(sum(p.notional_calls) = 0, NULL, sum(p.notional_cost_usd))",
           "what those would have cost in USD; no part of cost_usd; null: none"),
    Figure("cache_saved_usd", "sum(p.cache_saved_usd)",
           "what the cache saved of cost_usd in USD, against all reads and writes at the price of input; below 0: writes"
           " cost more than reads saved; only of calls that have a price"),
    Figure("flagged_calls", "sum(p.flagged_calls)", "calls that something is doubtful about"),
)  # fmt: skip

_BOTH = ("tenant", "department")
VIEWS = (
    View("calls", _BOTH),
    View("token_usage", ("department",)),
    *(View(rollup.view, tuple(name for name in _BOTH if name in rollup.key)) for rollup in ROLLUPS),
    View("usage_entries", _BOTH),
    View("call_meters", _BOTH),
    View("call_price_doubts", _BOTH),
    View("call_doubts", _BOTH),
    View("conversations", ("tenant",)),
    View("data_health", ("tenant",)),
    View("claimed_costs", ("tenant",)),
    View("settings", is_open=True),
    View("clock", is_open=True),
    View("running_periods", is_open=True),
    View("budget_periods", ("department",)),
    View("budget_status", ("department",)),
    View("budgeted_days", ("department",)),
    View("alert_thresholds"),
    View("collector_health"),
    View("requests_not_understood"),
    View("people", _BOTH),
    View("user_names", ("tenant",)),
    View("unknown_users", _BOTH),
    View("reconciliations"),
    View("bill_runs"),
    View("bills"),
    View("months"),
    View("closed_months", _BOTH),
    View("month_corrections", _BOTH),
    View("month_totals"),
    View("department_months", _BOTH),
    View("imports"),
    View("second_prices"),
)
"""Every view there is; the reader's account may select from all of them, and from no table."""

SCHEMA = Schema(COLUMNS, CALL_COLUMNS, MEASURES, TABLES, ROLLUPS, FIGURES, VIEWS, TOKEN_USAGE)
CORRECTED, DOUBTFUL = "corrected_calls", "doubtful_entries"
_OF_CALLS = (CORRECTED, DOUBTFUL)
FEEDS = {each.name: each.feed for each in TABLES} | {each: f"{each}_feed" for each in _OF_CALLS}
"""Tables that follow the ledger by themselves -> the materialized view that fills each.

A table that others are filled from comes before them.
"""
FED_BY_LEDGER = frozenset({*_OF_CALLS, *(each.name for each in TABLES if not each.fed_by)})
"""Those of them that no other of these tables is in between."""
TIMES = {each.name: each.time for each in TABLES} | dict.fromkeys(_OF_CALLS, "start_time")
"""The same tables -> their column of time."""
READABLE_VIEWS = tuple(view.name for view in VIEWS)
