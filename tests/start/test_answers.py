"""What a host answers is not believed: it may say anything."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from gproc.start.answers import LOGIN_SHELL, NodeFailed, NodeSilent, next_answer
from gproc.start.script import start_command


class Host:
    """A channel on which a host says some lines, and then nothing more, or goes on for ever with the last one."""

    peer = own = ""
    goes_on = False

    def __init__(self, *lines: bytes, for_ever: bool = False) -> None:
        self._lines = list(lines)
        self._for_ever = for_ever

    async def write(self, data: bytes) -> None:
        raise AssertionError("nothing is to be sent")

    async def line(self) -> bytes:
        await asyncio.sleep(0)
        if len(self._lines) > self._for_ever:
            return self._lines.pop(0)
        if not self._for_ever:
            await asyncio.Event().wait()
        return self._lines[0]

    def said(self) -> str:
        return ""

    async def status(self) -> int | None:
        return 3

    async def close(self, *, at_once: bool = False) -> None: ...


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"gproc-start failed 28 cannot write: /tmp\n", "cannot write: /tmp: No space left on device"),
        (b"gproc-start failed 99999999999999999999 x\n", "99999999999999999999 x"),
        (b"gproc-start failed " + b"9" * 5000 + b" x\n", "9" * 5000 + " x"),
        ("gproc-start failed \u0662 x\n".encode(), "\u0662 x"),
        (b"gproc-start dance\n", "it answers 'dance', not 'hello'"),
        (b"", f"{LOGIN_SHELL} ended without a word, with status 3"
        ": does a start-up file of it, such as ~/.bashrc, call exit?"),
    ],
    ids=["an error", "no such error", "no number has so many digits", "other digits", "another answer", "an end"],
)
def test_a_host_that_answers_nonsense_has_failed_and_that_is_said(line: bytes, told: str) -> None:
    with pytest.raises(NodeFailed) as failed:
        asyncio.run(next_answer(Host(line), 5.0, LOGIN_SHELL, "hello"))
    assert str(failed.value) == told


def silence(host: Host, **limits: float) -> str:
    with pytest.raises(NodeSilent) as failed:
        asyncio.run(next_answer(host, 0.2, LOGIN_SHELL, "ready", **limits))
    return str(failed.value)


def test_a_host_that_says_nothing_is_given_up_and_so_is_one_that_stands_still() -> None:
    assert silence(Host()) == "no answer from its login shell for 0.2 s"
    assert silence(Host(b"Welcome!\n")) == "no answer from its login shell for 0.2 s; it said: Welcome!"
    assert silence(Host(b"gproc-start doing waits for its disk\n")) == (
        "it waits for its disk, and nothing moves for 0.2 s"
    )


def test_signs_of_life_keep_a_host_only_so_long() -> None:
    sign = b"gproc-start doing starts\n"
    assert asyncio.run(by_a_clock_of_its_own(sign, sign, sign, b"gproc-start ready 6666\n")) == "6666"
    assert silence(Host(sign, for_ever=True), longest_s=0.4) == "no answer from its login shell within 0.4 s"


async def by_a_clock_of_its_own(*lines: bytes) -> str:
    """The answer of a host that says each line after most of the silence that it may keep."""
    loop = asyncio.get_running_loop()
    now_s = loop.time()

    class Slow(Host):
        async def line(self) -> bytes:
            nonlocal now_s
            now_s += 9.0
            return await super().line()

    loop.time = lambda: now_s  # type: ignore[method-assign]
    return (await next_answer(Slow(*lines), 10.0, "the slave", "ready")).rest


def test_a_host_whose_disk_hangs_has_said_where_it_looks(tmp_path: Path) -> None:
    (hangs := tmp_path / "mkdir").write_text("#!/bin/sh\nexec sleep 1000\n")
    hangs.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.defpath}", "HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    words = ["/bin/sh", "-c", start_command(1, "0" * 64)]
    with subprocess.Popen(
        words, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as shell:
        assert shell.stdout is not None
        lines = iter(shell.stdout.readline, "")
        said = [next(lines) for _ in range(4)]
        os.killpg(shell.pid, signal.SIGKILL)
    assert re.match("gproc-start doing looks for room in /.*/gproc/runtimes\n", said[-1])


def test_no_other_user_can_guess_the_name_of_a_new_directory(tmp_path: Path) -> None:
    """It was the number of the shell: a user who had made all 32,768 of them in /tmp kept gproc from a host whose home
    has no room for programs."""
    told = tmp_path / "told"
    for name, does in (("id", "echo 1234"), ("mkdir", f'echo "$@" >>{told}; exit 1')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.defpath}", "HOME": str(tmp_path)}
    for _ in range(2):
        words = ["/bin/sh", "-c", start_command(1, "0" * 64)]
        done = subprocess.run(words, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert "gproc-start failed" in done.stdout
    made = re.findall(r"^/(?:var/)?tmp/gproc\.(\S+)$", told.read_text(), re.MULTILINE)
    assert len(set(made)) == len(made) // 2 == 2
    assert all(len(name) == 16 for name in made)
