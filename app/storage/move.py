"""All bytes into one store, a file after the other, while the service runs.

A file is stored again in the target under a new id, read back, and named by its rows in one short
transaction; only then are the old bytes deleted. Whenever this ends, and however, the rows name whole bytes:
a copy that no row names is an orphan like any other, and old bytes that are still there stand in
`blob_removals`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, or_, select, text, union, update
from sqlalchemy.exc import IntegrityError as RowExists
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.models import Artifact, BlobRemoval, StoreMove, UploadPart
from app.models.clock import steady_now
from app.platform.db import database_now, read_scope, session_scope
from app.platform.ids import new_id
from app.storage import IntegrityError, find_store, get_store

LEASE = timedelta(seconds=30)
"""After which another may begin where one died."""
LOOK_SECONDS = 1.0
PAGE = 200
PROGRESS_SECONDS = 5.0
LOCKED_SECONDS = 0.05
"""Between two tries to switch rows that a request or a worker holds."""
GRACE = timedelta(minutes=5)
"""In which the old bytes are this process's to delete; then they are the sweeper's."""
LOCK_MILLISECONDS = 200
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's state for a row that somebody else holds."""
MODELS: tuple[type[Artifact] | type[UploadPart], ...] = (Artifact, UploadPart)


class Busy(Exception):
    """Somebody else moves bytes."""


class Stopped(Exception):
    """Somebody asked for an end."""


@dataclass(frozen=True)
class Share:
    """Files and bytes."""

    files: int
    bytes: int


@dataclass
class Report:
    """What was done."""

    moved: int = 0
    bytes: int = 0
    late: int = 0
    """Files that came to another store while this ran, and their bytes."""
    late_bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    """Ids of files that are missing or not what was stored. They stay as they are."""


@dataclass(frozen=True)
class _Blob:
    id: str
    store: str | None
    bytes: int
    sha256: str


def _elsewhere(model: type[Artifact] | type[UploadPart], target: str) -> ColumnElement[bool]:
    return or_(model.store.is_(None), model.store != target)


def shares() -> dict[str, Share]:
    """What each store has, by the rows; under "unnamed" what was stored before rows named the store."""
    own = [select(model.blob_id, model.store, model.bytes) for model in MODELS]
    blobs = union(*own).subquery()
    query = select(blobs.c.store, func.count(), func.sum(blobs.c.bytes)).group_by(blobs.c.store)
    with read_scope() as session:
        found = session.execute(query).all()
    return {name or "unnamed": Share(files, int(size)) for name, files, size in found}


class Lease:
    """The right to move bytes, of one process at a time. Two would do no harm, but everything twice."""

    def __init__(self) -> None:
        self.owner = f"{socket.gethostname()[:32]}:{os.getpid()}:{os.urandom(4).hex()}"
        self._renewed = 0.0

    def take(self, say: Callable[[str], None]) -> None:
        """Wait for the lease of one that died. Raises Busy for one that is alive."""
        seen = self._try()
        if seen is not None:
            say(f"another move is under way, or died within {LEASE.seconds} s; waiting to see which")
        while seen is not None:
            time.sleep(LOOK_SECONDS)
            now = self._try()
            if now is not None and now != seen:
                raise Busy
            seen = now

    def _try(self) -> tuple[str, object] | None:
        """Take it, or say who has it, and until when."""
        try:
            with session_scope() as session:
                now = steady_now(session)
                row = session.get(StoreMove, 1, with_for_update=True)
                if row is not None and row.expires_at > now:
                    return row.owner, row.expires_at
                session.merge(StoreMove(id=1, owner=self.owner, expires_at=now + LEASE))
        except RowExists:  # by another, at the same time
            return "", None
        self._renewed = time.monotonic()
        return None

    def renew(self) -> None:
        """Now and then. Raises Busy where another has it by now."""
        if time.monotonic() - self._renewed < LEASE.total_seconds() / 5:
            return
        with session_scope() as session:
            mine = update(StoreMove).where(StoreMove.owner == self.owner)
            renewed = session.execute(mine.values(expires_at=steady_now(session) + LEASE))
        if renewed.rowcount == 0:  # type: ignore[attr-defined]
            raise Busy
        self._renewed = time.monotonic()

    def release(self) -> None:
        """Let the next one begin at once."""
        with session_scope() as session:
            session.execute(delete(StoreMove).where(StoreMove.owner == self.owner))


class Move:
    """Moves everything into the store `target`."""

    def __init__(self, target: str, say: Callable[[str], None]) -> None:
        self.stop = False
        """Set it to end soon; `run` raises Stopped."""
        self.report = Report()
        self._name, self._target, self._say = target, get_store(target), say
        self._lease = Lease()
        self._left, self._told = Share(0, 0), time.monotonic()

    def run(self) -> None:
        """Until nothing is left that can be moved. Raises Busy, Stopped, and what stores or SQL raise."""
        self._lease.take(self._say)
        try:
            others = [share for name, share in shares().items() if name != self._name]
            self._left = Share(sum(s.files for s in others), sum(s.bytes for s in others))
            first = True
            while self._pass(late=not first):
                first = False
        finally:
            self._lease.release()

    def _pass(self, *, late: bool) -> int:
        """Move what is elsewhere now; how many files."""
        moved = 0
        for model in MODELS:
            for blob in self._blobs(model):
                if self._move(blob):
                    moved += 1
                    self.report.late += late
                    self.report.late_bytes += late * blob.bytes
                self._between()
        return moved

    def _blobs(self, model: type[Artifact] | type[UploadPart]) -> Iterator[_Blob]:
        """Those of the model's rows that are elsewhere and not known to be damaged, by id."""
        last = ""
        while True:
            query = select(model.blob_id, model.store, model.bytes, model.sha256).distinct()
            query = query.where(_elsewhere(model, self._name), model.blob_id > last)
            with read_scope() as session:
                page = [_Blob(*row) for row in session.execute(query.order_by(model.blob_id).limit(PAGE))]
            yield from (blob for blob in page if blob.id not in self.report.damaged)
            if len(page) < PAGE:
                return
            last = page[-1].id

    def _move(self, blob: _Blob) -> bool:
        """Whether rows name bytes in the target now that did not before."""
        source = blob.store or find_store(blob.id)
        if source == self._name or blob.bytes == 0:  # nothing to copy: its rows do not say where it is
            there = blob.bytes == 0 or self._target.has(blob.id)
            if there:
                _name_store(blob.id, self._name)
            else:
                self._damaged(blob, source)
            return there
        copy = new_id("art")
        if not self._copied(blob, source, copy):
            self._target.delete(copy, self._between)
            self._damaged(blob, source)
            return False
        # From here on an error leaves the copy alone: where a commit broke off, only the database knows.
        if not self._switched(blob.id, copy):  # deleted meanwhile
            self._target.delete(copy, self._between)
            return False
        get_store(source).delete(blob.id, self._between)
        with session_scope() as session:
            session.execute(delete(BlobRemoval).where(BlobRemoval.blob_id == blob.id))
        self.report.moved += 1
        self.report.bytes += blob.bytes
        return True

    def _copied(self, blob: _Blob, source: str, copy: str) -> bool:
        """Store it again; whether the target gives back what was stored once."""
        try:
            self._target.put(copy, self._watched(get_store(source).read(blob.id, 0, blob.bytes)))
            digest = hashlib.sha256()
            for piece in self._watched(self._target.read(copy, 0, blob.bytes)):
                digest.update(piece)
        except IntegrityError:
            return False
        except BaseException:
            with contextlib.suppress(OSError, SQLAlchemyError):
                self._target.delete(copy)
            raise
        return digest.hexdigest() == blob.sha256

    def _damaged(self, blob: _Blob, source: str) -> None:
        """Note it, unless it was deleted meanwhile."""
        if _is_named(blob.id):
            self.report.damaged.append(blob.id)
            self._say(f"{blob.id} in {source} is missing or damaged; it is left as it is")

    def _switched(self, blob_id: str, copy: str) -> bool:
        """Let every row that names the blob name the copy; False where no row does any more.

        Rows are locked before: whoever shares the bytes has added its row by then, or waits and reads the
        new name. Nobody is waited for long while rows are locked, for that could be a circle.
        """
        while True:
            try:
                with session_scope() as session:
                    if session.get_bind().dialect.name == "postgresql":
                        session.execute(text(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}"))
                    switched = False
                    while _lock_rows(session, blob_id):
                        for model in MODELS:
                            named = update(model).where(model.blob_id == blob_id)
                            session.execute(named.values(blob_id=copy, store=self._name))
                        switched = True
                    if switched:
                        due = database_now(session) + GRACE
                        session.add(BlobRemoval(id=new_id("rem"), blob_id=blob_id, due_at=due))
                return switched
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                    raise
            self._between()
            time.sleep(LOCKED_SECONDS)

    def _watched(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._between()
            yield piece

    def _between(self) -> None:
        """Called every moment: renews the lease, tells how far this is. Raises Stopped and Busy."""
        if self.stop:
            raise Stopped
        self._lease.renew()
        if time.monotonic() - self._told >= PROGRESS_SECONDS:
            self._told = time.monotonic()
            left = max(0, self._left.files - self.report.moved), max(0, self._left.bytes - self.report.bytes)
            self._say(f"moved {told(self.report.moved, self.report.bytes)}; left {told(*left)}")


def _name_store(blob_id: str, name: str) -> None:
    """Let rows say where their bytes are."""
    with session_scope() as session:
        for model in MODELS:
            session.execute(update(model).where(model.blob_id == blob_id).values(store=name))


def _lock_rows(session: Session, blob_id: str) -> int:
    """How many rows name the blob; nobody changes them before the end of the transaction."""
    locked = 0
    for model in MODELS:
        query = select(model.blob_id).where(model.blob_id == blob_id)
        locked += len(session.scalars(query.with_for_update(nowait=True)).all())
    return locked


def _is_named(blob_id: str) -> bool:
    with read_scope() as session:
        found = [session.scalar(select(model.blob_id).where(model.blob_id == blob_id)) for model in MODELS]
    return any(found)


def told(files: int, size: int) -> str:
    """For people: `3 files (1.5 MB)`."""
    return f"{files} file{'' if files == 1 else 's'} ({size / 1e6:,.1f} MB)"
