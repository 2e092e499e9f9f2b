"""`tallyspan sql`: an answer of the store, in any format of ClickHouse."""

import argparse
import io
import re
import sys
from typing import Any, BinaryIO, cast

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error
from urllib3.exceptions import HTTPError

from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.query.errors import RequestError
from tallyspan_collector import config
from tallyspan_collector.commands.store import reading
from tallyspan_collector.commands.table import OnTerminal

CHUNK_BYTES = 1 << 16


def add_parser(commands: Any) -> None:
    """Give `tallyspan sql` its parser."""
    parser = commands.add_parser("sql")
    config.add_flags(parser, config.READ_OPTIONS)
    parser.add_argument("query", help='for example "SELECT * FROM token_usage LIMIT 10"')
    parser.add_argument("--format", default="PrettyCompact", help="a ClickHouse output format")
    parser.set_defaults(run=_sql)


def run_sql(client: Client, sql: str, fmt: str, out: BinaryIO) -> None:
    """Write the answer to `out` in the ClickHouse FORMAT, as it arrives; the SQL cannot write.

    In-process chDB stays read-only afterwards, so it needs a client of its own.
    Raises RequestError if the store refuses the SQL, StoreError if it cannot be asked.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", fmt):
        raise RequestError(
            f"--format must be the name of a ClickHouse format, such as CSVWithNames, not {fmt!r}"
        )
    try:
        stream = client.raw_stream(sql, fmt=fmt, settings={"readonly": 1})
        with cast("io.BufferedIOBase", stream) as body:
            while chunk := body.read(CHUNK_BYTES):
                out.write(chunk)
    except ClickHouseError as error:
        sentence = " ".join(str(error).split())
        if isinstance(error, Error) and error.code is not None:
            raise RequestError(f"the store refused the SQL: {_without_noise(sentence)}") from error
        raise StoreError(f"the store cannot be asked: {sentence[:300]}", retryable=True) from error
    except HTTPError as error:
        raise StoreError(
            "the store broke off in the middle of the answer, so what was written is not all of it:"
            " the query failed on a later row or the store went away; its server log says which",
            retryable=True,
        ) from error


def _sql(options: argparse.Namespace) -> int:
    with reading(options) as client:
        out = sys.stdout.buffer
        # A name in the ledger is any text that a sender chose; what goes to a file stays as it is.
        shown = cast("BinaryIO", OnTerminal(out)) if sys.stdout.isatty() else out
        run_sql(client, options.query, options.format, shown)
    return 0


def _without_noise(sentence: str) -> str:
    # Over HTTP the driver writes the code twice, and text of its own before the sentence.
    sentence = re.sub(r"^(Received ClickHouse exception.*?response: )?", "", sentence)
    sentence = re.sub(r"^(Code: \d+\. DB::Exception: )+", "", sentence)
    return re.split(r"\.? Expected one of:| \(version ", sentence)[0][:300]
