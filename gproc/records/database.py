"""The records of all jobs in one SQLite file.  Every call may wait for the disk: `gproc.records.keeper` has the thread.

The file is in WAL mode, and is not synced at each commit: after a crash of the master it has all that was written,
after a loss of power it is whole and may lack the last seconds.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from gproc.errors import GprocError
from gproc.records.place import REMEDY
from gproc.records.record import JobName, Keeping, KeptJob
from gproc.records.rows import BRIEF_COLUMNS, COLUMNS, BriefRow, JobCells, notes_of, packed_notes, record_of, row_of
from gproc.request.spec import Action

APPLICATION: Final = 0x6770726F
"""PRAGMA application_id: "gpro"."""

VERSION: Final = 1
"""PRAGMA user_version."""

ROOM_BYTES: Final = 64 << 10
"""Bytes: a disk with less has no room for the database and its log."""

SECONDS_OF_DAY: Final = 86_400

_SCHEMA: Final = """
create table jobs (
    number integer primary key, name text not null, uid integer not null, argv blob not null, nodes text not null,
    places blob not null, missing text not null, state text not null, status integer, detached integer not null,
    spooled integer not null, started_s real not null, ended_s real not null, endings blob not null,
    stdout_bytes integer not null, stderr_bytes integer not null
);
create index jobs_of_user on jobs (uid, number);
create index running_jobs on jobs (number) where state = 'running';
create table numbers (next integer not null);
insert into numbers values (1);
"""

_RUNNING: Final = """
create table if not exists lives (number integer primary key, life blob not null);
create table if not exists nodes (nonce blob primary key, node blob not null);
create table if not exists tasks (number integer primary key, notes blob not null);
create table if not exists actions (number integer primary key, action text not null);
delete from tasks where number not in (select number from jobs);
delete from actions where number not in (select number from jobs);
"""
"""What a master needs of the present only if it crashes, notes of tasks, and what a job did if it was no plain run.  An
older gproc leaves these tables alone, so that rows may be left of jobs whose records it has removed.

life, node: `records.present.KeptLife` and `KeptNode` in msgpack."""

_ALL: Final = ", ".join(COLUMNS)
_BRIEF: Final = ", ".join(BRIEF_COLUMNS)


class Changes(NamedTuple):
    """lives: by the job's number, nodes: by the nonce; None: it is gone."""

    records: Collection[KeptJob] = ()
    lives: Mapping[int, bytes | None] = MappingProxyType({})
    nodes: Mapping[bytes, bytes | None] = MappingProxyType({})


class DamagedRecords(GprocError):
    """The file cannot be used."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the job records in {self.path} cannot be used: {self.reason}; to begin with none, move the file away: "
            f"mv {self.path} {self.path}.bad"
        )


class JobDatabase:
    """One process has it.  Raises (all methods): GprocError if the disk fails, DamagedRecords for a broken file."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._explained():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
            self._open()

    def _open(self) -> None:
        [application], [version] = (self._one(f"pragma {name}") for name in ("application_id", "user_version"))
        empty = self._one("select count(*) from sqlite_schema") == (0,)
        if not empty and application != APPLICATION:
            raise DamagedRecords(self._path, "it is a database of another program")
        if not empty and version != VERSION:
            raise DamagedRecords(self._path, f"its version is {version}, and this gproc knows version {VERSION}")
        # One process alone has the file, so WAL needs no shared memory, which not every file system offers.
        self._connection.execute("pragma locking_mode = exclusive")
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = normal")
        if empty:
            self._connection.executescript(
                f"begin; pragma application_id = {APPLICATION}; pragma user_version = {VERSION}; {_SCHEMA} commit;"
            )
        elif self._one("pragma quick_check") != ("ok",):
            raise DamagedRecords(self._path, "it is damaged")
        self._connection.executescript(f"begin; {_RUNNING} commit;")

    def close(self) -> None:
        self._connection.close()

    def reserve(self, count: int) -> int:
        """Reserve `count` numbers of jobs, on the disk.  Returns the first of them."""
        with self._explained():
            [first] = self._one("select max(next, (select ifnull(max(number), 0) + 1 from jobs)) from numbers")
            self._connection.execute("pragma synchronous = full")
            self._connection.execute("update numbers set next = ?", (first + count,))
            self._connection.execute("pragma synchronous = normal")
        return int(first)

    def give_back(self, number: int) -> None:
        """No number from this one on was used."""
        with self._explained():
            self._connection.execute("update numbers set next = ?", (number,))

    def write(self, changes: Changes) -> None:
        """Write all of them or none."""
        marks = ", ".join("?" * len(COLUMNS))
        with self._explained(), self._transaction():
            self._connection.executemany(f"insert or replace into jobs values ({marks})", map(row_of, changes.records))
            noted = [(each.number, packed_notes(each.tasks)) for each in changes.records if each.tasks is not None]
            self._connection.executemany("insert or replace into tasks values (?, ?)", noted)
            actions = [(each.number, each.action) for each in changes.records if each.action != "run"]
            self._connection.executemany("insert or replace into actions values (?, ?)", actions)
            for table, key, found in (("lives", "number", changes.lives), ("nodes", "nonce", changes.nodes)):
                gone = [(each,) for each, value in found.items() if value is None]
                kept = [(each, value) for each, value in found.items() if value is not None]
                self._connection.executemany(f"delete from {table} where {key} = ?", gone)
                self._connection.executemany(f"insert or replace into {table} values (?, ?)", kept)

    def lives(self) -> dict[int, bytes]:
        """What is kept of running jobs, by number."""
        with self._explained():
            return dict(self._connection.execute("select number, life from lives").fetchall())

    def nodes(self) -> list[bytes]:
        """What is kept of the nodes of the tree."""
        with self._explained():
            return [node for [node] in self._connection.execute("select node from nodes order by rowid")]

    def forget_present(self) -> None:
        """No job of this session runs any more, and no node is in it."""
        with self._explained(), self._transaction():
            self._connection.execute("delete from lives")
            self._connection.execute("delete from nodes")

    def running(self) -> list[KeptJob]:
        with self._explained():
            found = self._connection.execute(f"select {_ALL} from jobs where state = 'running'").fetchall()
            return [self._record(row) for row in found]

    def find(self, name: JobName, uid: int, *, all_users: bool) -> KeptJob | None:
        """The job that a user calls so: the newest of that name.

        all_users: jobs of others are found too, if the user has none of that name.
        """
        where: list[str] = []
        values: list[object] = []
        if name.number is not None:
            where, values = ["number = ?"], [name.number]
        elif name.name:
            where, values = ["name = ?"], [name.name]
        if not all_users or not where:
            where, values = [*where, "uid = ?"], [*values, uid]
        order = "order by uid = ? desc, number desc limit 1"
        with self._explained():
            statement = f"select {_ALL} from jobs where {' and '.join(where)} {order}"
            row: JobCells | None = self._connection.execute(statement, (*values, uid)).fetchone()
            return None if row is None else self._record(row)

    def newest(self, uid: int | None, limit: int) -> tuple[list[BriefRow], int]:
        """The newest jobs of a user, or of all, the oldest of them first; and how many more there are."""
        where, values = ("", []) if uid is None else ("where uid = ?", [uid])
        with self._explained():
            [count] = self._one(f"select count(*) from jobs {where}", values)
            statement = f"select {_BRIEF} from jobs {where} order by number desc limit ?"
            found: list[BriefRow] = self._connection.execute(statement, (*values, limit)).fetchall()
        return found[::-1], count - len(found)

    def remove(self, numbers: Collection[int]) -> None:
        with self._explained(), self._transaction():
            for table in ("jobs", "tasks", "actions"):
                self._connection.executemany(f"delete from {table} where number = ?", ((each,) for each in numbers))

    def prune(self, keeping: Keeping, now_s: float) -> list[int]:
        """Remove what is not kept by the rule.  Returns the numbers."""
        doomed = f"""
            select number from jobs where state != 'running' and ended_s < {now_s - keeping.days * SECONDS_OF_DAY}
            union select number from (
                select number, row_number() over (partition by uid order by number desc) as age_of_user,
                    row_number() over (order by number desc) as age from jobs where state != 'running'
            ) where age_of_user > {keeping.each_user} or age > {keeping.together}
        """
        with self._explained():
            numbers = [number for [number] in self._connection.execute(doomed)]
        if numbers:
            self.remove(numbers)
        return numbers

    def numbers(self) -> set[int]:
        """The numbers of all jobs."""
        with self._explained():
            return {number for [number] in self._connection.execute("select number from jobs")}

    def spooled(self) -> dict[int, int]:
        """The users of the jobs whose output is kept, by number."""
        with self._explained():
            return dict(self._connection.execute("select number, uid from jobs where spooled").fetchall())

    def _record(self, row: JobCells) -> KeptJob:
        """Raises: ValueError if it is none."""
        record = record_of(row)
        notes = self._connection.execute("select notes from tasks where number = ?", (record.number,)).fetchone()
        found = self._connection.execute("select action from actions where number = ?", (record.number,)).fetchone()
        if notes is None and found is None:
            return record
        action = "run" if found is None else msgspec.convert(found[0], Action)
        return msgspec.structs.replace(record, tasks=notes and notes_of(notes[0]), action=action)

    def _one(self, statement: str, values: Sequence[object] = ()) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._connection.execute(statement, values).fetchone()
        return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("begin")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    def _reason(self, error: sqlite3.OperationalError) -> str:
        """SQLite calls a full disk an I/O error if it meets it while it makes its log."""
        code = error.sqlite_errorcode & 0xFF  # https://sqlite.org/rescode.html: the rest says more of the same
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._is_full()):
            return f"{os.strerror(errno.ENOSPC)}; make room there, or {REMEDY}"
        return str(error)

    def _is_full(self) -> bool:
        disk = os.statvfs(os.path.dirname(self._path))
        return disk.f_bavail * disk.f_frsize < ROOM_BYTES

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise GprocError(f"cannot keep job records in {self._path}: {self._reason(error)}") from error
        except (sqlite3.DatabaseError, ValueError) as error:
            raise DamagedRecords(self._path, str(error)) from error
        except OSError as error:
            raise GprocError(f"cannot keep job records in {self._path}: {error.strerror}") from error
