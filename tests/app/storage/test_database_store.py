"""Bytes in, the same bytes out, in ranges, and nothing left behind after a failure."""

import hashlib
import itertools
import random

import pytest
from sqlalchemy import delete, func, select

from app.db import read_scope, session_scope
from app.models import ArtifactChunk
from app.storage import IntegrityError, get_store
from app.storage.database import CHUNK_BYTES


def payload(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def rows() -> int:
    with read_scope() as session:
        return session.scalar(select(func.count()).select_from(ArtifactChunk)) or 0


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5])
def test_roundtrip(each_database, size):
    data, store = payload(size), get_store()
    stored = store.put("art_a", [data])
    assert (stored.bytes, stored.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert b"".join(store.read("art_a")) == data
    assert b"".join(store.read("art_a", 0, size)) == data
    assert rows() == -(-size // CHUNK_BYTES)


def test_uneven_pieces_become_equal_rows(database):
    data, cuts = payload(2 * CHUNK_BYTES + 77), [0, 5, 5, CHUNK_BYTES + 9, 2 * CHUNK_BYTES + 77]
    pieces = [data[a:b] for a, b in itertools.pairwise(cuts)]
    assert get_store().put("art_a", pieces).sha256 == hashlib.sha256(data).hexdigest()
    with read_scope() as session:
        sizes = [len(d) for d in session.scalars(select(ArtifactChunk.data).order_by(ArtifactChunk.number))]
    assert sizes == [CHUNK_BYTES, CHUNK_BYTES, 77]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1),
        (10, 20),
        (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
        (CHUNK_BYTES, 2 * CHUNK_BYTES),
        (5, 2 * CHUNK_BYTES + 7),
        (7, None),
        (2 * CHUNK_BYTES + 6, None),
        (4, 4),
    ],
)
def test_ranges(database, start, end):
    data = payload(2 * CHUNK_BYTES + 7)
    store = get_store()
    store.put("art_a", [data])
    assert b"".join(store.read("art_a", start, end)) == data[start:end]


def test_a_source_that_fails_leaves_nothing(each_database):
    def torn():
        yield payload(CHUNK_BYTES + 3)
        raise ConnectionError("the client went away")

    with pytest.raises(ConnectionError):
        get_store().put("art_a", torn())
    assert rows() == 0


def test_delete_takes_one_artifact_and_may_be_repeated(database):
    store = get_store()
    store.put("art_a", [payload(10)])
    store.put("art_b", [payload(11)])
    store.delete("art_a")
    store.delete("art_a")
    assert b"".join(store.read("art_a")) == b""
    assert b"".join(store.read("art_b")) == payload(11)


def test_a_missing_chunk_is_noticed(database):
    store, size = get_store(), 2 * CHUNK_BYTES + 1
    store.put("art_a", [payload(size)])
    with session_scope() as session:
        session.execute(delete(ArtifactChunk).where(ArtifactChunk.number == 1))
    with pytest.raises(IntegrityError):
        list(store.read("art_a", 0, size))
