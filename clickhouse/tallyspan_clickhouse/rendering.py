"""A migration's text -> the statements a single server or a cluster runs: one file serves both.

Placeholders: `{database}`; `{on_cluster}`; `{engine}` (MergeTree or ReplicatedMergeTree);
`{replicated}` before another engine of that family; `{everywhere}` as its first arguments keeps a
copy on every server instead of one a shard; `{all}` after a table means it on all shards.
"""

import re
from dataclasses import dataclass

from tallyspan_clickhouse.errors import StoreError
from tallyspan_clickhouse.schema import FEEDS, LEDGER

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PLACEHOLDER = re.compile(r"\{(database|on_cluster|engine|replicated|everywhere|all)\}")
TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)
    |(?P<end>;)
    |'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`
    |[^'"`;/-]+|.""",
    re.DOTALL | re.VERBOSE,
)
CREATES_TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?\{database\}\.(\w+)")
# Tables that views read on all shards. A trace is on one shard, so that is the key of its entries.
DISTRIBUTED = {LEDGER: "cityHash64(trace_id)", **dict.fromkeys(FEEDS, "rand()")}


@dataclass(frozen=True)
class Target:
    """Where migrations run: a database, and a cluster of `remote_servers` or the empty string.

    Raises StoreError for names that cannot be.
    """

    database: str
    cluster: str = ""

    def __post_init__(self) -> None:
        for what, name in (("database", self.database), ("cluster", self.cluster or "c")):
            if not NAME.fullmatch(name):
                raise StoreError(f"{name!r} cannot be a {what}: use letters, digits and _")

    def render(self, sql: str) -> list[str]:
        """Return the statements of a file, ready to run, without comments."""
        rendered = []
        for statement in statements(sql):
            rendered.append(self._fill(statement))
            table = CREATES_TABLE.match(statement)
            if self.cluster and table and table[1] in DISTRIBUTED:
                rendered.append(self._fill(self._distributed(table[1])))
        return rendered

    def _distributed(self, table: str) -> str:
        return (
            f"CREATE TABLE {{database}}.{table}_all {{on_cluster}} AS {{database}}.{table}"
            f" ENGINE = Distributed('{self.cluster}', '{self.database}', '{table}',"
            f" {DISTRIBUTED[table]}) COMMENT '{table} of all shards'"
        )

    def _fill(self, statement: str) -> str:
        values = {
            "database": self.database,
            "on_cluster": f"ON CLUSTER '{self.cluster}'" if self.cluster else "",
            "engine": "ReplicatedMergeTree" if self.cluster else "MergeTree",
            "replicated": "Replicated" if self.cluster else "",
            "everywhere": "'/clickhouse/tables/{uuid}', '{shard}-{replica}', "
            if self.cluster
            else "",
            "all": "_all" if self.cluster else "",
        }
        return PLACEHOLDER.sub(lambda match: values[match[1]], statement)


def statements(sql: str) -> list[str]:
    """Return the statements of a file, without comments; a quoted `;` or `--` is text."""
    complete, current = [], ""
    for token in TOKEN.finditer(sql):
        if token["end"]:
            complete.append(current.strip())
            current = ""
        else:
            current += " " if token["comment"] else token[0]
    return [statement for statement in [*complete, current.strip()] if statement]
