"""The words of ssh(1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.adapters.rsh.words import REFUSED, WITH_VALUE, WITHOUT_VALUE, words_of
from gproc.errors import UsageError


@pytest.mark.parametrize(
    ("given", "user", "host", "command"),
    [
        ("host a -b", "", "host", "a -b"),
        ("-x -p 22 -oA=b me@host a -b", "me", "host", "a -b"),
        ("-xl me -- host a -b", "me", "host", "a -b"),
        ("-o A=b -q host a -b", "", "host", "a -b"),
        ("host -l me -x a -b", "me", "host", "a -b"),
        ("-l me you@host a", "me", "host", "a"),
        ("-tt host", "", "host", ""),
        # As rsync, git, scp and Ansible say it.
        ("-l me host rsync --server -logDtpr . /d/", "me", "host", "rsync --server -logDtpr . /d/"),
        ("-o SendEnv=GIT_PROTOCOL host git-upload-pack '/r'", "", "host", "git-upload-pack '/r'"),
        ("-C -o ControlPersist=60s -o User=me -o ControlPath=/c -tt host true", "", "host", "true"),
    ],
)
def test_options_are_read_as_ssh_reads_them(given: str, user: str, host: str, command: str) -> None:
    assert words_of(given.split())[:3] == (host, user, command)


def test_what_is_asked_for_is_known() -> None:
    assert words_of(["-n", "h", "a"]).no_stdin
    terminals = [words_of([*options, "h"]).terminal for options in ([], ["-t"], ["-T"], ["-tt"])]
    assert terminals == [None, True, False, True]
    last = [words_of([*options, "h"]).terminal for options in (["-T", "-t"], ["-t", "-T"], ["-tT"], ["-Ttt"])]
    assert last == [True, False, False, True], "of both the last one counts, as for ssh"
    assert words_of(["-x", "-oA=b", "-s", "--", "h", "sftp"]).subsystem
    assert words_of(["-V"]).version
    forced = [["-tt", "h"], ["-t", "-t", "h"], ["-t", "h", "-t"], ["-t", "h"], ["-tt", "-T", "h"], ["-tT", "-t", "h"]]
    assert [words_of(words).forced for words in forced] == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "usage: "), ("-x", "usage: "), ("me@ a", "usage: "), ("-l", "-l needs a value"),
        ("-z h a", "-z: ssh has no"), ("-L 1:h:2 h", "-L: gproc-rsh forwards no connections"), ("-NT h", "-N: "),
        ("-f h a", "background"),
        ("-G h", "-G: "), ("-s h shell", "sftp is the only subsystem"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(given: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        words_of(given.split())


dropped = st.sampled_from(sorted((WITH_VALUE | WITHOUT_VALUE) - set(REFUSED) - set("lnsTtV")))


@given(st.lists(st.tuples(dropped, st.booleans()), max_size=6), st.lists(st.text("-a b", min_size=1), min_size=1))
def test_any_options_are_dropped_and_the_command_is_kept(options: list[tuple[str, bool]], command: list[str]) -> None:
    before: list[str] = []
    for letter, apart in options:
        value = ([f"-{letter}", "-v"] if apart else [f"-{letter}v"]) if letter in WITH_VALUE else [f"-{letter}"]
        before += value
    asked = words_of([*before, "host", "cmd", *command])
    assert asked == ("host", "", " ".join(["cmd", *command]), False, None, False, False, False)
