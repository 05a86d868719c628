"""The embedded broker: every message is taken once, whole, whoever writes and reads at the same time.

Guards: messages and tables that appear under their name only when they are complete. Tried: with kombu's own
channel a reader meets an empty message within a second and its worker ends.
"""

import logging
import threading
from pathlib import Path
from queue import Empty

import pytest
from celery import Celery
from kombu import Connection

from app.messaging.broker import broker_settings
from app.platform.settings import get_settings


@pytest.fixture
def connection(home):
    about = broker_settings(get_settings())
    with Connection(about["broker_url"], transport_options=about["broker_transport_options"]) as connection:
        yield connection


def test_nothing_is_met_half_written_and_nothing_is_taken_twice(connection):
    total, readers = 300, 3
    taken, failures = [], []
    done = threading.Event()

    def write():
        with connection.clone() as mine, mine.SimpleQueue("race") as queue:
            for number in range(total):
                queue.put({"number": number})
        done.set()

    def read():
        try:
            with connection.clone() as mine:
                channel = mine.channel()
                while True:
                    over = done.is_set()
                    try:
                        taken.append(channel._get("race")["body"])
                    except Empty:
                        if over:
                            return
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=write), *(threading.Thread(target=read) for _ in range(readers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert len(taken) == len(set(taken)) == total


def test_those_who_bind_at_once_are_all_remembered(connection):
    def bind(number):
        with connection.clone() as mine:
            mine.channel()._queue_bind("dfad", "dfad", "", f"queue{number}")

    threads = [threading.Thread(target=bind, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    bound = {entry.queue for entry in connection.channel().get_table("dfad")}
    assert bound == {f"queue{number}" for number in range(12)}


def test_an_empty_message_is_thrown_away_and_the_next_one_comes(connection, caplog):
    with connection.SimpleQueue("left") as queue:
        folder = Path(connection.transport_options["data_folder_in"])
        (folder / "0_0.left.msg").write_bytes(b"")
        queue.put("sound")
        with caplog.at_level(logging.WARNING, "app.messaging.embedded_broker"):
            message = queue.get(timeout=5)
        message.ack()
    assert message.payload == "sound"
    assert "thrown away" in caplog.text
    assert list(folder.iterdir()) == []


def test_celery_finds_the_transport_by_its_scheme(home):
    celery = Celery("one")
    celery.conf.update(broker_settings(get_settings()))
    with celery.connection_for_write() as connection:
        assert type(connection.transport).__module__ == "app.messaging.embedded_broker"
