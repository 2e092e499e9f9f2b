"""What the local store's engine is told: its server settings and its accounts.

The port answers on one path that nobody can guess, so that no other user of the machine and no web
page reaches the account `default`, which can have no password.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from tallyspan_clickhouse.accounts import READER, READER_MEMORY_BYTES
from tallyspan_clickhouse.schema import READABLE_VIEWS

WRITER = "tallyspan"
# The first statement opens the port, the second keeps the engine up; neither needs rights on data.
START_STATEMENTS = (
    "SYSTEM START LISTEN HTTP",
    "SELECT sleepEachRow(1) FROM system.numbers SETTINGS max_block_size = 1 FORMAT Null",
)
PONG = "Ok."

SERVER = """<clickhouse>
    <listen_host>127.0.0.1</listen_host>
    <http_port>{port}</http_port>
    <http_handlers>
        <rule>
            <url>/{path}</url>
            <methods>GET,POST</methods>
            <handler>
                <type>dynamic_query_handler</type>
                <query_param_name>query</query_param_name>
            </handler>
        </rule>
        <rule>
            <url>/{path}/ping</url>
            <methods>GET</methods>
            <handler><type>static</type><response_content>{pong}</response_content></handler>
        </rule>
    </http_handlers>
    <timezone>UTC</timezone>
    {memory}
    <mark_cache_size>268435456</mark_cache_size>
    <!-- What the engine has acknowledged, the collector forgets: then it must be on the disk. -->
    <merge_tree>
        <fsync_after_insert>1</fsync_after_insert>
        <fsync_part_directory>1</fsync_part_directory>
        <min_rows_to_fsync_after_merge>1</min_rows_to_fsync_after_merge>
    </merge_tree>
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
        <!-- The table function `python` ends the engine: it looks for variables where none are. -->
        <default>
            <allow_python_table_function>0</allow_python_table_function>
            <constraints>
                <allow_python_table_function><const/></allow_python_table_function>
            </constraints>
        </default>
        <reader>
            <readonly>1</readonly>
            <max_execution_time>60</max_execution_time>
            <max_memory_usage>{reader_memory}</max_memory_usage>
            <allow_python_table_function>0</allow_python_table_function>
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


def server_settings(
    *, port: int, path: str, memory_bytes: int | None, config: Path, log: Path
) -> str:
    """Return config.xml; without `memory_bytes` the engine may take half of the memory there is.

    `path` is all that the port answers on: queries there, pings on `ping` below it.
    """
    memory = (
        "<max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>"
        if memory_bytes is None
        else f"<max_server_memory_usage>{memory_bytes}</max_server_memory_usage>"
    )
    return SERVER.format(
        port=port,
        path=escape(path),
        pong=PONG,
        memory=memory,
        config=escape(str(config)),
        log=escape(str(log)),
    )


def accounts(passwords: Mapping[str, str], database: str) -> str:
    """Return users.xml: the writer, and a reader who sees the views and nothing below them."""
    grants = (f"GRANT SELECT ON {database}.{view}" for view in READABLE_VIEWS)
    return ACCOUNTS.format(
        writer=WRITER,
        reader=READER,
        writer_hash=hashlib.sha256(passwords[WRITER].encode()).hexdigest(),
        reader_memory=READER_MEMORY_BYTES,
        reader_hash=hashlib.sha256(passwords[READER].encode()).hexdigest(),
        grants="".join(f"<query>{grant}</query>" for grant in grants),
    )
