"""LIEF's answers are kept by the digest of what it parsed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gproc.bundle.memo import ANSWERS_MAX, NAME, ElfFacts, Memo

ANSWER = ElfFacts(b"/lib/ld.so", b"libx.so", (b"libc.so.6", b"lib\xe9.so"), None, b"$ORIGIN/\xff", 2**64 - 1)


def test_an_answer_is_found_by_the_next_command(tmp_path: Path) -> None:
    first = Memo(str(tmp_path))
    first.remember(b"excerpt", ANSWER)
    first.save()
    second = Memo(str(tmp_path))
    assert second.recall(b"excerpt") == ANSWER
    assert second.recall(b"another excerpt") is None
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"", b"\x00", b"\xc1garbage", b"\x92\x00\x80"], ids=repr)
def test_a_damaged_memo_is_an_empty_one_and_is_replaced(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / NAME).write_bytes(damage)
    memo = Memo(str(tmp_path))
    assert memo.recall(b"excerpt") is None
    memo.remember(b"excerpt", ANSWER)
    memo.save()
    assert Memo(str(tmp_path)).recall(b"excerpt") == ANSWER


def test_another_users_memo_is_not_used(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a file of another user")
    memo = Memo(str(tmp_path))
    memo.remember(b"excerpt", ANSWER)
    memo.save()
    os.chown(tmp_path / NAME, 64320, 64320)
    assert Memo(str(tmp_path)).recall(b"excerpt") is None


def test_a_full_memo_forgets_the_older_half(tmp_path: Path) -> None:
    memo = Memo(str(tmp_path))
    for number in range(ANSWERS_MAX + 1):
        memo.remember(b"%d" % number, ANSWER)
    memo.save()
    later = Memo(str(tmp_path))
    assert later.recall(b"0") is None
    assert later.recall(b"%d" % ANSWERS_MAX) == ANSWER


def test_a_program_with_another_file_beside_it_is_packed_again_without_lief(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("new")
    script = (
        "import os, sys\n"
        "from gproc.packager import PackRequest, pack\n"
        "extra = tuple(sys.argv[2:])\n"
        "pack(PackRequest('/bin/sh', '/', dict(os.environ), extra, cache_dir=sys.argv[1] + '/bundles'))\n"
        "print('lief' in sys.modules)\n"
    )

    def packed(*extra: str) -> str:
        command = [sys.executable, "-c", script, str(tmp_path / "cache"), *extra]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert packed() == "True"
    assert packed(str(tmp_path / "data")) == "False"
