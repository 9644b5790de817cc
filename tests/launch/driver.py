"""A slave in miniature, in a process of its own: it holds a Launcher and runs what it reads from stdin.

One JSON object per line in, one per line out.  Run by the fixture `node` as root, as another user, or plain.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import msgspec

from gproc import native
from gproc.launch import serving
from gproc.launch.launcher import Launcher
from gproc.launch.protocol import JobEnd, ProgramEnded, Start
from gproc.request import globs
from gproc.request.limits import Limits
from gproc.request.spec import Caller, Request
from gproc.root import kernel
from gproc.root.view import View


def become(uid: int) -> None:
    """Another user, who may not be able to read where this interpreter lies: so `serving` is imported already."""
    assert serving and globs
    if uid != os.getuid():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        # As after the execve(2) that starts a slave: else its files in /proc would stay root's.
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)


if sys.argv[1] == "empty":
    # A node without any program or library: what this interpreter needs is in memory already.
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(b"none", b"/", None, kernel.MS_REC | kernel.MS_SLAVE)
    kernel.mount(b"none", b"/usr", b"tmpfs", 0, b"mode=0755")
become(int(sys.argv[2]))
if os.path.isabs(sys.argv[3]):
    native.HELPER = os.fsencode(sys.argv[3])
launcher = Launcher.for_this_node(private=sys.argv[1] != "plain", native=sys.argv[3] != "python")
assert bool(launcher.python_because) == (sys.argv[3] == "python"), launcher.python_because


def tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")


async def collect(reader: int) -> asyncio.StreamReader:
    stream = asyncio.StreamReader(limit=1 << 24)
    pipe = os.fdopen(reader, "rb")
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    return stream


def held(directory: int) -> int:
    """The directory of a handle, to be listed."""
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)


async def run(order: dict[str, Any], job: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[JobEnd] = loop.create_future()
    reader, writer = os.pipe()
    stdin = os.open("/dev/null", os.O_RDONLY)
    request = Request(
        nodes=".",
        argv=tuple(os.fsencode(word) for word in order["argv"]),
        env=tuple(os.fsencode(entry) for entry in order["env"]),
        umask=order["umask"],
        limits=Limits(**order["limits"]),
        collect=tuple(os.fsencode(glob) for glob in order["collect"]),
    )
    caller = Caller(order["uid"], order["gid"], tuple(order["groups"]))
    start = Start(job, request, caller, (), msgspec.json.decode(order["view"], type=View))
    process = launcher.spawn(start, stdin, writer, os.dup(writer), ended.set_result)
    stream = await collect(reader)
    output = b""
    for signum in order["signals"]:
        output += await stream.readline()
        process.signal(signum)
    output += await stream.read()
    outcome = await ended
    if isinstance(outcome, ProgramEnded) and outcome.directory >= 0:
        output += b"left: " + b" ".join(sorted(map(os.fsencode, os.listdir(held(outcome.directory)))))
    return {"outcome": msgspec.json.encode(outcome).decode(), "output": output.decode("latin-1")}


async def main() -> None:
    launcher.attach(asyncio.get_running_loop())
    tell(msgspec.json.encode(launcher.abilities).decode())
    orders = await collect(os.dup(0))
    job = 0
    while line := await orders.readline():
        many = json.loads(line)
        answers = await asyncio.gather(*(run(order, job + index) for index, order in enumerate(many)))
        job += len(many)
        tell(json.dumps(answers))
    launcher.close()


asyncio.run(main())
