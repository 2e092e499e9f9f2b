"""What the local store's engine is told: its server settings and its accounts."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from tallyspan_clickhouse.schema import READABLE_VIEWS

WRITER = "tallyspan"
READER = "tallyspan_reader"
# The first statement opens the port, the second keeps the engine up; neither needs rights on data.
START_STATEMENTS = (
    "SYSTEM START LISTEN HTTP",
    "SELECT sleepEachRow(1) FROM system.numbers SETTINGS max_block_size = 1 FORMAT Null",
)

SERVER = """<clickhouse>
    <listen_host>127.0.0.1</listen_host>
    <http_port>{port}</http_port>
    <timezone>UTC</timezone>
    {memory}
    <mark_cache_size>268435456</mark_cache_size>
    <!-- the local engine ignores logger/level, and traces every query without this -->
    <log-level>warning</log-level>
    <logger>
        <log>{log}/server.log</log>
        <errorlog>{log}/server.err.log</errorlog>
        <size>10M</size>
        <count>2</count>
    </logger>
    <user_directories><users_xml><path>{config}/users.xml</path></users_xml></user_directories>
    <access_control_improvements>
        <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
        <select_from_information_schema_requires_grant>true</select_from_information_schema_requires_grant>
        <settings_constraints_replace_previous>true</settings_constraints_replace_previous>
    </access_control_improvements>
</clickhouse>
"""

ACCOUNTS = """<clickhouse>
    <profiles>
        <default/>
        <reader>
            <readonly>1</readonly>
            <max_execution_time>60</max_execution_time>
            <constraints>
                <max_execution_time><changeable_in_readonly/><min>1</min><max>600</max></max_execution_time>
            </constraints>
        </reader>
    </profiles>
    <quotas>
        <default/>
        <nothing_more><interval><duration>2147483647</duration><queries>2</queries></interval></nothing_more>
    </quotas>
    <users>
        <!-- The engine starts as `default`, which can have no password. It may do what starting
             takes, and its quota ends with the two statements that does. -->
        <default>
            <no_password/>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>nothing_more</quota>
            <grants>
                <query>GRANT SYSTEM LISTEN ON *.*</query>
                <query>GRANT SELECT ON system.numbers</query>
            </grants>
        </default>
        <{writer}>
            <password_sha256_hex>{writer_hash}</password_sha256_hex>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
        </{writer}>
        <{reader}>
            <password_sha256_hex>{reader_hash}</password_sha256_hex>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>reader</profile>
            <quota>default</quota>
            <grants>{grants}</grants>
        </{reader}>
    </users>
</clickhouse>
"""


def server_settings(*, port: int, memory_bytes: int | None, config: Path, log: Path) -> str:
    """Return config.xml; without `memory_bytes` the engine may take half of the memory there is."""
    memory = (
        "<max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>"
        if memory_bytes is None
        else f"<max_server_memory_usage>{memory_bytes}</max_server_memory_usage>"
    )
    return SERVER.format(port=port, memory=memory, config=escape(str(config)), log=escape(str(log)))


def accounts(passwords: Mapping[str, str], database: str) -> str:
    """Return users.xml: the writer, and a reader who sees the views and nothing below them."""
    grants = (f"GRANT SELECT ON {database}.{view}" for view in READABLE_VIEWS)
    return ACCOUNTS.format(
        writer=WRITER,
        reader=READER,
        writer_hash=hashlib.sha256(passwords[WRITER].encode()).hexdigest(),
        reader_hash=hashlib.sha256(passwords[READER].encode()).hexdigest(),
        grants="".join(f"<query>{grant}</query>" for grant in grants),
    )
