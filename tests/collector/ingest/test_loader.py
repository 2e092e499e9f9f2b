"""The thread that makes batches serves others while the store takes none."""

import threading
from contextlib import closing
from pathlib import Path

from clickhouse_connect.driver.client import Client

from batches import a_batch
from tallyspan_collector.access.keys import Keys
from tallyspan_collector.columns.reader import PYTHON
from tallyspan_collector.directory.lookup import Directory
from tallyspan_collector.ingest.journal import Journal
from tallyspan_collector.ingest.loader import BATCHES_AHEAD, Loader
from tallyspan_collector.ingest.spool import Spool
from tallyspan_collector.metrics.counters import Metrics
from tallyspan_collector.pricing.book import PriceBook
from waiting import wait_for


def test_while_batches_wait_traces_are_looked_up_and_what_is_confirmed_is_settled(
    client: Client, tmp_path: Path
) -> None:
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        spool = Spool(tmp_path / "0.sqlite", 1 << 30)
        loader = Loader(
            client, spool, journal, PriceBook.load(), Keys(), Metrics(), Directory(), PYTHON
        )
        batch = a_batch(client, "ada", 1)
        for _ in range(BATCHES_AHEAD):  # and nobody takes them
            loader._batches.put(batch)
        loader._waiting[batch.batch_id] = batch
        loader._ended.put((batch, ""))
        answers: list[object] = []
        # the file is used by the thread that opened it
        asking = threading.Thread(target=lambda: answers.append(loader.traces([1])))
        asking.start()
        threading.Timer(1.0, loader._is_stopped.set).start()

        loader._hand_on(batch)

        asking.join()
        assert answers == [{}]
        wait_for(lambda: loader.waiting == 0, "nothing that waits")
        spool.close()
