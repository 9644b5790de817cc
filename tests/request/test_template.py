"""Replacement strings: those of GNU parallel, and values that a shell takes as one word."""

from __future__ import annotations

import subprocess
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.request.template import (
    COMMAND_BYTES_MAX,
    VALUE_BYTES_MAX,
    CommandTooLong,
    Template,
    completed,
    directory_of,
    has_strings,
    misplaced_in,
)

AS_PARALLEL = {
    b"data/a.tar.gz": (b"data/a.tar.gz", b"data/a.tar", b"a.tar.gz", b"data", b"a.tar"),
    b"a.c": (b"a.c", b"a", b"a.c", b".", b"a"),
    b"plain": (b"plain", b"plain", b"plain", b".", b"plain"),
    b"dir.d/plain": (b"dir.d/plain", b"dir.d/plain", b"plain", b"dir.d", b"plain"),
    b"/top.c": (b"/top.c", b"/top", b"top.c", b"/", b"top"),
    b"a b.c": (b"a b.c", b"a b", b"a b.c", b".", b"a b"),
}
"""What `parallel -q echo '{}' '{.}' '{/}' '{//}' '{/.}'` of 20221122 prints."""


@pytest.mark.parametrize("value", AS_PARALLEL)
def test_each_string_stands_for_what_it_does_in_gnu_parallel(value: bytes) -> None:
    template = Template((b"echo", b"<{}>", b"<{.}>", b"<{/}>", b"<{//}>", b"<{/.}>", b"<{#}.{%}>", b"{", b"{..}"))
    words = template.command((value,), 7, 2)
    assert words == (b"echo", *(b"<%b>" % part for part in AS_PARALLEL[value]), b"<7.2>", b"{", b"{..}")


def test_a_command_without_a_string_for_the_value_gets_it_behind() -> None:
    assert completed((b"echo", b"{#}")) == (b"echo", b"{#}", b"{}")
    assert completed((b"echo", b"{/}")) == (b"echo", b"{/}")
    assert completed((b"echo", b"a;", b"echo"), shell=True) == (b"echo a; echo {}",)
    assert completed((b"echo {/}; ls",), shell=True) == (b"echo {/}; ls",)
    assert has_strings(b"x{/.}") and not has_strings(b"{x}")


def test_a_word_that_is_the_string_alone_becomes_as_many_words_as_there_are_values() -> None:
    template = Template((b"f", b"{}", b"-{}"))
    assert template.command((b"a", b"b c"), 1, 1) == (b"f", b"a", b"b c", b"-a b c")
    assert template.command((), 1, 1) == (b"f", b"-")


@given(st.binary(max_size=20).filter(lambda value: b"\0" not in value and b"\n" not in value))
def test_the_directory_of_a_path_is_that_of_dirname(value: bytes) -> None:
    if not value.strip(b"/") or b"//" in value:
        return
    done = subprocess.run([b"dirname", b"--", value], capture_output=True, check=True, timeout=50)
    assert directory_of(value) == done.stdout.removesuffix(b"\n")


AWKWARD = (
    b"", b" ", b"a b", b"'", b"\"$HOME\"", b"`date`", b"a\tb", b"a;b", b"*", b"\\", b"a'b'c", b"\xff\xfe", b"~", b"-n",
)  # fmt: skip


def test_a_shell_takes_each_value_as_one_word_whatever_is_in_it() -> None:
    template = Template((b"printf '<%s>' {} {}",), quoted=True)
    for value in AWKWARD:
        (line,) = template.command((value,), 1, 1)
        assert subprocess.run([b"/bin/sh", b"-c", line], capture_output=True, timeout=50).stdout == b"<%b>" % value * 2


def test_a_command_has_a_bound_and_making_it_too() -> None:
    Template((b"f", b"{}")).check((b"a" * VALUE_BYTES_MAX,))
    for words, values in (
        ((b"f", b"{}"), (b"a" * (VALUE_BYTES_MAX + 1),)),
        ((b"f", *[b"{}"] * 100), (b"a" * (COMMAND_BYTES_MAX // 100),)),
        ((b"f", b"a" * COMMAND_BYTES_MAX), (b"",)),
    ):
        with pytest.raises(CommandTooLong):
            Template(words).command(values, 1, 1)


@pytest.mark.parametrize(
    "line",
    [
        "echo '{}'", 'echo "{}"', "echo 'a {/}'", 'echo "q$x{}"', 'x="$(cat \'{}\')"', 'echo "a`cat "{}"`"',
        "cat <<E\n{}\nE", 'echo "$(echo "{.}")"', "echo it\\'s '{}'", "echo 'a'$'b{}'",
        "echo a # don't\necho '{}' # it's", 'echo "`basename {}`"',
        "echo $'\\''{}'", "echo $'\\'{}'",
    ],
)  # fmt: skip
def test_a_value_within_quotes_of_a_line_is_found(line: str) -> None:
    """The quotes of both meet: the shell would run `id` of the value `a;id`."""
    assert misplaced_in(line.encode())


RUNS_IT: Final = [
    ("echo \\{}", "$(echo ran >&2) #"), ("echo $(({}+1))", "$(echo ran >&2)"), ("echo a # {}", "\necho ran >&2 #"),
    ("((x={}))", "a[$(echo ran >&2)0]"), ("echo `echo {}`", "a`;echo ran >&2 #"), ("echo ${}", "\\'$(echo ran >&2)' #"),
    ("echo $[{}+1]", "$(echo ran >&2)"), ("echo hello #", "\necho ran >&2 #"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "value"), RUNS_IT, ids=[line for line, _ in RUNS_IT])
def test_a_value_that_some_shell_would_run_is_not_put_there(line: str, value: str) -> None:
    """`gproc map --shell . 'echo \\{}'` ran what was in the list."""
    (whole,) = completed((line.encode(),), shell=True)
    assert misplaced_in(whole)
    (filled,) = Template((whole,), quoted=True).command((value.encode(),), 1, 1)
    said = [subprocess.run([shell, "-c", filled], capture_output=True, timeout=50).stderr for shell in ("sh", "bash")]
    assert any(b"ran" in each.splitlines() for each in said), said


@pytest.mark.parametrize(
    "line",
    [
        "echo {}",
        "echo 'a' {} \"b\"", 'echo "$(basename {})"', "echo '{#}' \"{%}\"", "echo \\'{}\\'",
        "(cd {//}; ls {/})", "cat {} <<E\nx\nE", "echo $((1 << 2)) {}", "awk '{print}' {}",
        "echo a#{} ${x#b} {}", "echo $(({#} + 1)) $((2)) {}", "echo $((1 + $(wc -l < {})))", "((x = 1)); echo {}",
        "( (cd {}); ls)", "echo \\\\{}", "echo `date` {}", "# don't\ncat {}", "echo $[1 + 2] {}", "echo $$ {}",
        "case a in (a) echo {};; esac", "echo '$' {}", "f() { echo {}; }; f", "echo \"${x:-\"b\"}\" {}",
    ],
)  # fmt: skip
def test_a_value_outside_of_quotes_is_fine(line: str) -> None:
    assert misplaced_in(line.encode()) is None


def test_a_number_picks_one_of_several_values_as_in_gnu_parallel() -> None:
    """`gproc map . echo {1}` printed "{1}" and the value behind it, with status 0."""
    words = (b"<{1}>", b"{2.}-{1/}", b"{-1//}", b"<{3}>", b"<{-3/.}>", b"{0}", b"{1..}")
    template = Template(words)
    values = (b"d/a.c", b"e/b.h")
    assert template.command(values, 1, 1) == (b"<d/a.c>", b"e/b-a.c", b"e", b"<>", b"<>", b"{0}", b"{1..}")
    assert completed((b"echo", b"{1}")) == (b"echo", b"{1}")
    assert completed((b"echo", b"{0}")) == (b"echo", b"{0}", b"{}")
    assert misplaced_in(b"echo '{1}'") == (b"{1}", "in quotes")
    assert Template((b"echo {2}",), quoted=True).command((b"a", b"b c"), 1, 1) == (b"echo 'b c'",)
