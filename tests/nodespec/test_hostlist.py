"""The hosts of `gproc start -w`: lists and ranges, and those that are too long to be meant."""

from __future__ import annotations

import pytest

from gproc.cli import main
from gproc.naming.hostlist import HOSTS_MAX, BadHosts, TooManyHosts, expand


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("n[08-10],login1", ["n08", "n09", "n10", "login1"]),
        ("n1, n1,n[1-2]", ["n1", "n2"]),
        ("r[1-2]n[3,5]", ["r1n3", "r1n5", "r2n3", "r2n5"]),
        ("", []),
    ],
)
def test_every_host_comes_once_and_in_order(text: str, hosts: list[str]) -> None:
    assert expand(text) == hosts


@pytest.mark.parametrize(
    "text",
    [
        "n[1-999999999]",
        f"n[1-{HOSTS_MAX + 1}]",
        f"n[1-{HOSTS_MAX}],login1",
        pytest.param(f"n[{','.join(['1-99999'] * 10_000)}]", id="ranges in one bracket"),
        pytest.param(",".join(["n[1-99999]"] * 10_000), id="the same words again"),
        pytest.param("n" + "[1-99999]" * 10_000, id="brackets in one name"),
    ],
)
def test_too_many_hosts_are_refused_before_they_fill_the_memory(text: str) -> None:
    with pytest.raises(TooManyHosts, match=f"more than {HOSTS_MAX} hosts: name fewer at once"):
        expand(text)


@pytest.mark.parametrize("text", ["n[2-1]", "n[1", "n]1[", "n[[1]]", "n[1-]", "-o", "n1,@x", "n[1-9999999999]"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(BadHosts):
        expand(text)


def test_an_absurd_range_of_a_locales_nodes_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["start", "-locale=kane", "-l", "1", "-h", "999999999", "1"]) == 2
    reason = f"nodes 1 to 999999999 are 999999999 nodes, more than {HOSTS_MAX}: name fewer by -l and -h"
    assert capsys.readouterr().err == f"gproc: {reason}\n"
