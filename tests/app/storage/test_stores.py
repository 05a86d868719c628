"""Bytes in, the same bytes out, in ranges, and nothing left behind after a failure: in every store."""

import hashlib
import itertools
import os
import random
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select

from app.models import ArtifactChunk
from app.platform.db import read_scope, session_scope
from app.platform.settings import Settings, get_settings
from app.storage import IntegrityError, StoreAway, get_store, make_store
from app.storage.database import CHUNK_BYTES
from app.storage.s3 import ObjectsStore
from testing.services import free_port


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services), "filesystem", "s3"])
def store(request, home, monkeypatch):
    """Each store, empty."""
    if request.param in ("filesystem", "s3"):
        monkeypatch.setenv("DFAD_ARTIFACT_STORE", request.param)
    if request.param == "s3":
        request.getfixturevalue("bucket")
    if request.param == "postgresql":
        monkeypatch.setenv("DFAD_DATABASE_URL", request.getfixturevalue("postgres"))
    if request.param == "sqlite":
        request.getfixturevalue("database")
    get_settings.cache_clear()
    get_store.cache_clear()
    return get_store()


def payload(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def ids(store) -> set[str]:
    return {artifact_id for artifact_id, _ in store.kept()}


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 9 * CHUNK_BYTES + 5])
def test_roundtrip(store, size):
    data = payload(size)
    stored = store.put("art_a", [data])
    assert (stored.bytes, stored.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert b"".join(store.read("art_a")) == data
    assert b"".join(store.read("art_a", 0, size)) == data


def test_uneven_pieces(store):
    data, cuts = payload(2 * CHUNK_BYTES + 77), [0, 5, 5, CHUNK_BYTES + 9, 2 * CHUNK_BYTES + 77]
    pieces = [data[a:b] for a, b in itertools.pairwise(cuts)]
    assert store.put("art_a", pieces).sha256 == hashlib.sha256(data).hexdigest()
    assert b"".join(store.read("art_a")) == data


def test_pieces_become_equal_rows(database):
    data, cuts = payload(2 * CHUNK_BYTES + 77), [0, 5, 5, CHUNK_BYTES + 9, 2 * CHUNK_BYTES + 77]
    get_store().put("art_a", [data[a:b] for a, b in itertools.pairwise(cuts)])
    with read_scope() as session:
        sizes = [len(d) for d in session.scalars(select(ArtifactChunk.data).order_by(ArtifactChunk.number))]
    assert sizes == [CHUNK_BYTES, CHUNK_BYTES, 77]


RANGES = [
    (0, 1),
    (10, 20),
    (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
    (CHUNK_BYTES, 2 * CHUNK_BYTES),
    (5, 2 * CHUNK_BYTES + 7),
    (7, None),
    (2 * CHUNK_BYTES + 6, None),
    (4, 4),
]


def test_ranges(store):
    data = payload(2 * CHUNK_BYTES + 7)
    store.put("art_a", [data])
    for start, end in RANGES:
        assert b"".join(store.read("art_a", start, end)) == data[start:end], (start, end)


def test_a_source_that_fails_leaves_nothing(store):
    def torn():
        yield payload(CHUNK_BYTES + 3)
        raise ConnectionError("the client went away")

    with pytest.raises(Exception, match="the client went away"):
        store.put("art_a", torn())
    assert ids(store) == set()
    assert b"".join(store.read("art_a")) == b""


def test_delete_takes_one_artifact_and_may_be_repeated(store):
    store.put("art_a", [payload(10)])
    store.put("art_b", [payload(11)])
    store.delete("art_a")
    store.delete("art_a")
    assert b"".join(store.read("art_a")) == b""
    assert b"".join(store.read("art_b")) == payload(11)
    assert ids(store) == {"art_b"}


def test_what_is_missing_is_noticed(store):
    store.put("art_a", [payload(10)])
    with pytest.raises(IntegrityError):
        list(store.read("art_gone", 0, 5))
    with pytest.raises(IntegrityError):
        list(store.read("art_a", 0, 11))


def test_since_when_it_is_kept(store):
    store.put("art_a", [payload(10)])
    ((_, since),) = store.kept()
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=1)
    store.sweep_unfinished(datetime.now(UTC))
    assert ids(store) == {"art_a"}


def test_a_missing_chunk_is_noticed(database):
    store, size = get_store(), 2 * CHUNK_BYTES + 1
    store.put("art_a", [payload(size)])
    with session_scope() as session:
        session.execute(delete(ArtifactChunk).where(ArtifactChunk.number == 1))
    with pytest.raises(IntegrityError):
        list(store.read("art_a", 0, size))


@pytest.mark.parametrize("store", ["filesystem"], indirect=True)
def test_files_of_a_process_that_was_killed_are_swept(store, home):
    store.put("art_aa", [b"x"])
    torn = home / "artifacts" / "aa" / ".part-0"
    torn.write_bytes(b"half")
    store.sweep_unfinished(datetime.now(UTC) - timedelta(hours=1))
    assert torn.exists()
    os.utime(torn, (0, 0))
    store.sweep_unfinished(datetime.now(UTC) - timedelta(hours=1))
    assert not torn.exists()
    assert ids(store) == {"art_aa"}


@pytest.mark.parametrize("store", ["filesystem"], indirect=True)
@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "art_\x00", "art_é"])
def test_names_that_are_no_ids_reach_no_file(store, name):
    with pytest.raises(ValueError, match="not an artifact's id"):
        store.put(name, [b"x"])


@pytest.mark.parametrize("store", ["filesystem"], indirect=True)
def test_a_link_is_not_followed(store, home, tmp_path):
    store.put("art_aa", [b"x"])
    secret = tmp_path / "secret"
    secret.write_bytes(b"s")
    path = home / "artifacts" / "aa" / "art_aa"
    path.unlink()
    path.symlink_to(secret)
    store.put("art_aa", [b"new"])
    assert secret.read_bytes() == b"s"
    assert not path.is_symlink()


def test_who_aborts_waits_for_the_thread_that_writes(store):
    """A cancelled request's thread writes on to its end: what it wrote must go, and nothing may follow.

    Tried: without the lock in Writer a piece that was being written stays behind for ever.
    """
    writer = store.writer("art_a")
    begun, go_on, take = threading.Event(), threading.Event(), writer._take

    def slowly(piece):
        begun.set()
        go_on.wait(10)
        take(piece)

    writer._take = slowly
    writing = threading.Thread(target=writer.write, args=(payload(3 * CHUNK_BYTES),))
    writing.start()
    begun.wait(10)
    aborting = threading.Thread(target=writer.abort)
    aborting.start()
    aborting.join(0.2)
    go_on.set()
    writing.join(10)
    aborting.join(10)
    assert ids(store) == set()
    with pytest.raises(ValueError, match="given up"):
        writer.write(b"late")
    writer.abort()
    store.sweep_unfinished(datetime.now(UTC) + timedelta(hours=1))
    assert ids(store) == set()


def test_credentials_of_the_settings(home, monkeypatch, tmp_path, s3_server):
    """Without the AWS_* variables, as Compose's store is reached; the secret one from a file."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "secret").write_text("hush\n")
    for name, value in {
        "ARTIFACT_STORE": "s3", "S3_ENDPOINT": s3_server, "S3_URL": "s3://bucket/own",
        "S3_ACCESS_KEY_ID": "dfad", "S3_SECRET_ACCESS_KEY_FILE": str(tmp_path / "secret"),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"DFAD_{name}", value)
    get_settings.cache_clear()
    get_store.cache_clear()
    get_store().put("art_own", [b"bytes"])
    assert b"".join(get_store().read("art_own")) == b"bytes"
    store = get_store()
    assert isinstance(store, ObjectsStore)
    config = store._store.config
    assert (config["access_key_id"], config["secret_access_key"]) == ("dfad", "hush")


def test_a_store_that_is_away_says_so_in_one_way(home, monkeypatch):
    """Not with an error of its library, which nobody above knows."""
    monkeypatch.setenv("DFAD_S3_URL", "s3://bucket/x")
    monkeypatch.setenv("DFAD_S3_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    store = make_store(Settings(), "s3", wait_seconds=1)
    for ask in (
        store.check,
        lambda: store.delete("art_a"),
        lambda: list(store.kept()),
        lambda: list(store.read("art_a", 0, 1)),
        lambda: store.put("art_a", [b"x"]),
    ):
        with pytest.raises(StoreAway):
            ask()
    monkeypatch.delenv("DFAD_S3_URL")
    with pytest.raises(StoreAway, match="DFAD_S3_URL"):
        make_store(Settings(), "s3")


def test_objects_that_break_off_leave_no_pieces_behind(tmp_path):
    """Pieces of an upload that was never completed are held by the store and listed nowhere."""
    from obstore.store import LocalStore

    from app.storage.s3 import PIECE_BYTES

    objects = ObjectsStore(LocalStore(tmp_path))
    for size in (1000, 3 * PIECE_BYTES + 1):
        writer = objects.writer("art_1")
        writer.write(payload(size))
        writer.abort()
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        assert list(objects.kept()) == []
