"""Decoders of files: what a person wrote, what gproc wrote and a disk or another version has changed."""

from __future__ import annotations

import os
import re
import struct
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import msgspec

from gproc.bundle import cache
from gproc.bundle.languages import imports, nodejs, pth
from gproc.bundle.tracing.observed import Recalled
from gproc.cli.settings import settings_of
from gproc.content.manifest import digest_of
from gproc.disk.mounted import mount_in
from gproc.errors import LocaleError, SpecError, UsageError
from gproc.locales.etchosts import parse_hosts, trailing_number
from gproc.locales.file import FileLocale
from gproc.locales.postfix import evaluate
from gproc.naming.hostlist import BadHosts, expand
from gproc.naming.words import Words
from gproc.nodespec import Place
from gproc.policy.rules import policy_text
from gproc.records.entries import Broken, Gaps, SpoolEntry, end_of, entries_in, packed
from gproc.records.record import JobName, KeptJob, endings_of
from gproc.records.rows import record_of, row_of
from gproc.request.outcome import Outcome, Returned, Signalled
from gproc.root.facts import glibc_banner
from gproc.trust.ledger import IssuedLine
from gproc.trust.revocations import RevocationList
from gproc.wire import frames
from tests.fuzz.target import OneFile, Target


def _config(data: bytes) -> None:
    settings_of("fuzzed", data.decode(errors="replace"))


def _policy(data: bytes) -> None:
    policy_text(tomllib.loads(data.decode(errors="replace")))


def _postfix(data: bytes) -> None:
    evaluate(data.decode(errors="replace"), "kn7")


def _locale(data: bytes) -> None:
    """Each node of a file has its place, below one of its other nodes or the master."""
    locale = FileLocale.of("fuzzed", data)
    first, last = locale.first_and_last()
    assert first <= last
    for number in {first, last}:
        locale.node(number)


def _hosts(data: bytes) -> None:
    for name, address in parse_hosts(data.decode(errors="replace")):
        assert name and address and not name.isspace()
        number = trailing_number(name)
        assert number is None or number > 0


def _host_list(data: bytes) -> None:
    text = data.decode(errors="replace")
    if re.search(r"\d{3}", text) is None:  # a hundred thousand hosts take a while
        found = expand(text[:100])
        assert len(set(found)) == len(found)


JOB: Final = KeptJob(
    number=7, name="night", uid=1000, argv=(b"/bin/x", b"\xff"), nodes="1-2", places=(Place((1,)), Place((2,))),
    missing="", state="ended", detached=True, spooled=True, started_s=1.0, ended_s=2.0,
    endings=endings_of({0: Returned(0), 1: Signalled(9, False)}),
)  # fmt: skip


CELLS: Final = row_of(JOB)
NEVER: Final = b"\xc1"
"""A byte that MessagePack does not use."""


def _record(data: bytes) -> None:
    """The cells of a damaged database.  What is read can be written, and is the same."""
    argv, places, endings, *_ = *data.split(NEVER), b"", b"", b""
    number, name, uid, _, nodes, _, missing, state, status, detached, spooled, started_s, ended_s, _, out, err = CELLS
    found = record_of(
        (
            number, name, uid, argv, nodes, places, missing, state, status, detached, spooled, started_s, ended_s,
            endings, out, err,
        )
    )  # fmt: skip
    assert record_of(row_of(found)) == found
    found.status()


def _record_seed() -> bytes:
    return NEVER.join((CELLS[3], CELLS[5], CELLS[13]))


def _spool(data: bytes) -> None:
    """Entries and what is missing between them; the first byte says whether the spool's beginning is asked for."""
    gaps = Gaps(from_start=bool(data[:1]) and data[0] % 2 == 0)
    used = 0
    for entry, size in entries_in(data[1:]):
        used += size
        for gap in gaps.before(entry):
            assert gap.size > 0
    assert used <= len(data)


def _spool_seed() -> bytes:
    ended: Outcome = Returned(0)
    entries = [
        SpoolEntry(0, frames.STDOUT, 0, 1.0, b"out"), SpoolEntry(1, frames.STDERR, 9, 1.5, b"err"),
        end_of(0, ended, (3, 0), 2.0),
    ]  # fmt: skip
    return b"\0" + b"".join(map(packed, entries))


def _rank_end(data: bytes) -> None:
    """An end whose checksum is right, with any contents."""
    entry = SpoolEntry(0, 0, 0, 1.0, data)
    [(same, _)] = entries_in(packed(entry))
    list(Gaps(from_start=True).before(same))


def _job_name(data: bytes) -> None:
    name = JobName.parse(data.decode(errors="replace"))
    assert JobName.parse(str(name)) == name
    assert str(name).isascii() and str(name).isprintable()


def _ledger(data: bytes) -> None:
    """A line of what was issued, and the whole list of what was revoked."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        msgspec.json.decode(data, type=IssuedLine)
    msgspec.json.decode(data, type=RevocationList)


QUESTION: Final = cache.Question(b"/bin/x", (), b"/", (), False)
RECORD: Final = cache.Record(QUESTION, b"d" * 32, b"manifest", (), cache.Traces((), (), ()), (), None)


def _cached(data: bytes) -> None:
    """A record of the packager's cache, in a directory of the user's own."""
    record = msgspec.msgpack.decode(data, type=cache.Record)
    record.question.name()
    record.holds({}, b"/")


def _observed(data: bytes) -> None:
    """What earlier runs of a program have opened: it is kept again with what another run opens."""
    found = Recalled(data, digest_of(data)).observed()
    found.joined(found)


def _words(data: bytes) -> None:
    """NODES, as people write it.  What is taken apart means the same when it is put together."""
    found = Words.parse(data.decode(errors="replace"))
    if found.paths:
        assert Words.parse(found.paths) == Words(found.paths)
    assert all(operand.size > 0 or operand.is_group for operand in found.hosts)


def _python(data: bytes) -> None:
    """Scripts, .pth files and the finders of editable installs."""
    for installed in (False, True):
        for name in imports.modules_in(data, installed=installed):
            assert name.isascii()
    list(pth.mapped(OneFile(data), "fuzzed"))  # type: ignore[arg-type]


def _nodejs(data: bytes) -> None:
    nodejs.packages_of(OneFile(data), [("/w", data), ("/w", b"require('a')")], "")  # type: ignore[arg-type]


def _mounted(data: bytes) -> None:
    """A user mounts at any path: the line that the kernel makes of it says that path and no other options."""
    path = b"/" + data.replace(b"\0", b"")
    escaped = b"".join(b"\\%03o" % byte if byte in b" \t\n\\" else bytes([byte]) for byte in path)
    found = mount_in(b"36 35 98:0 / " + escaped + b" rw,noatime shared:1 - fuse.x some rw,user_id=7\n")
    assert (found.point, found.kind, found.options) == (path, b"fuse.x", b"rw,user_id=7")
    assert not found.is_for_all((0,))


def _glibc(data: bytes) -> None:
    found = glibc_banner(data)
    assert found is None or min(found) >= 0


def _seeds() -> Iterator[tuple[str, Target]]:
    yield "config", Target(
        _config, (UsageError,),
        (b'[common]\nsocket = "/tmp/x"\n[e]\ntimeout = 3\nenv = ["A=1"]\n[s]\nid = 4\nparent = "a:1"\n',),
    )
    yield "policy", Target(
        _policy, (ValueError, RecursionError),
        (b'root = true\n[[allow]]\nusers = ["*", 7]\nnodes = "1/."\njobs = 3\n[limits]\nuser_connections = 9\n',),
    )
    yield "postfix", Target(
        _postfix, (LocaleError,), (b"hostname hostbase 20 / 1 + 5 roundup", b"1 2 3 ifelse")
    )
    yield "locale", Target(
        _locale, (LocaleError,),
        (
            b'master = "fe"\nnodes = ["a"]\n[[rack]]\nhead = "n1"\nnodes = ["n2"]\n[addresses]\nn1 = "10.0.0.1"\n',
            b'master = "fe"\npattern = "node{:03}"\nlast = 400\nfan_out = 20\nfirst_address = "10.0.0.1"\n',
        ),
    )
    yield "hosts", Target(_hosts, (), (b"10.0.0.1 master node07 # x\n127.0.0.1 localhost\n",))
    yield "host list", Target(_host_list, (BadHosts,), (b"node[01-20],login1,a[1,3-5]b[2]",))
    yield "record", Target(_record, (ValueError, RecursionError), (_record_seed(),))
    yield "spool", Target(_spool, (Broken,), (_spool_seed(),))
    yield "spool's end", Target(_rank_end, (Broken, struct.error), (end_of(0, Returned(3), (1, 2), 1.0).data,))
    yield "job name", Target(_job_name, (UsageError,), (b"night-1.a", b"last", b"42"))
    yield "ledger", Target(
        _ledger, (msgspec.DecodeError, UnicodeDecodeError),
        (
            msgspec.json.encode(IssuedLine("kn1", "node", "AB", 1, 2, "ssh")),
            msgspec.json.encode(RevocationList(7, (("kn1", 5),), (("AB", 9),))),
        ),
    )
    yield "cached", Target(
        _cached, (msgspec.DecodeError, UnicodeDecodeError, RecursionError), (msgspec.msgpack.encode(RECORD),)
    )
    yield "observed", Target(_observed, (), (msgspec.msgpack.encode((1, ((b"/bin/x",), (b"/etc/y",), (), ()))),))
    yield "words", Target(_words, (SpecError,), (b"kn[01-20/2]!kn3,@rack3,@s:g", b"1/2,@failed", b"a&b[1,3]^c"))
    yield "python", Target(
        _python, (),
        (b"import os, a.b as c\n  from x.y import z\n", b"MAPPING: dict[str, str] = {'a': '/usr/b'}\n"),
    )
    yield "node.js", Target(
        _nodejs, (), (b'{"dependencies": {"a": "1"}, "peerDependencies": {"@b/c": "2"}}', b"require('@b/c/d')")
    )
    yield "mounted", Target(_mounted, (), (b"a b\\040\n", os.fsencode("/mnt/\u202e")))
    yield "glibc", Target(
        _glibc, (), (b"GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n",)
    )


FILES: Final = dict(_seeds())
