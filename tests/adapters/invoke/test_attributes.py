"""The attributes of JOB_CREATE: one value, or one reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gproc.adapters.invoke.attributes import (
    KNOWN,
    MANDATORY,
    BadAttribute,
    Redirect,
    invocation_of,
)
from gproc.adapters.invoke.protocol import Attribute
from gproc.adapters.invoke.states import MOVES, JobStates, end_status

PLAIN: list[Attribute] = [
    ("hostname", "kn1"), ("port", "0"), ("client_name", "c"), ("executable_path", "/bin/pi"), ("backend", "NORMAL"),
    ("count", "2"), ("staging", "false"), ("redirect_enable", "false"), ("status_polling", "0"),
    ("refresh_credential", "0"),
]  # fmt: skip
PAGE = Path(__file__).parents[3] / "docs" / "invoke-server.md"


def with_(*attributes: Attribute) -> list[Attribute]:
    """The plain attributes, with these instead of those of the same name."""
    names = {name for name, _ in attributes}
    return [*attributes, *(each for each in PLAIN if each[0] not in names)]


def test_an_invocation_has_all_that_was_asked_for() -> None:
    asked = invocation_of(
        with_(
            ("argument", "--a=1 "), ("argument", ""), ("environment", "A=1=2"), ("environment", "B"),
            ("redirect_enable", "true"), ("stdout_file", "/tmp/o"), ("stderr_file", "/tmp/e"),
            ("work_directory", "/w"), ("work_directory", "/w"), ("max_time", "9"), ("max_wall_time", "2"),
            ("max_cpu_time", "1"), ("max_memory", "64"), ("host_count", "3"), ("staging", "true"),
            ("gproc_nodes", "1-2/."), ("gproc_file", "/a"), ("gproc_file", "/b c"), ("gproc_cpus", "4"),
            ("gproc_nice", "-5"), ("gproc_max_procs", "7"), ("gproc_reasons", "true"),
        )
    )  # fmt: skip
    assert (asked.hostname, asked.port, asked.count) == ("kn1", 0, 2)
    assert asked.arguments == ("--a=1 ", "")
    assert asked.environment == {"A": "1=2", "B": ""}
    assert asked.redirect == Redirect("/tmp/o", "/tmp/e")
    assert (asked.work_directory, asked.host_count, asked.nodes) == ("/w", 3, "1-2/.")
    assert (asked.time_limit_s, asked.cpu_limit_s, asked.mem_bytes) == (120.0, 60, 64 << 20)
    assert (asked.files, asked.cpus, asked.nice, asked.max_procs) == (("/a", "/b c"), 4, -5, 7)
    assert asked.reasons


def test_what_was_not_asked_for_has_no_bound() -> None:
    asked = invocation_of(with_(("max_time", "0"), ("max_memory", "0"), ("max_cpu_time", "0"), ("host_count", "0")))
    assert (asked.time_limit_s, asked.cpu_limit_s, asked.mem_bytes, asked.host_count) == (None, None, None, None)
    assert (asked.redirect, asked.work_directory, asked.nodes, asked.reasons) == (None, None, None, False)


@pytest.mark.parametrize("name", MANDATORY)
def test_a_mandatory_attribute_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(BadAttribute, match=f"^missing: {name}$"):
        invocation_of([each for each in PLAIN if each[0] != name])


@pytest.mark.parametrize(
    ("attribute", "reason"),
    [
        (("backend", "PVM"), "NORMAL, MPI, BLACS"),
        (("staging", "yes"), "true, false"),
        (("count", "0"), "from 1 to"),
        (("count", "1e3"), "from 1 to"),
        (("count", "²"), "from 1 to"),
        (("count", "9" * 5000), "from 1 to"),
        (("port", "65536"), "from 0 to 65535"),
        (("hostname", " "), "no value"),
        (("executable_path", ""), "no value"),
        (("redirect_enable", "true"), "stdout_file and stderr_file are needed"),
        (("environment", "=x"), "no name"),
        (("argument", "a\0b"), "null byte"),
        (("max_time", "-1"), "from 0 to"),
        (("gproc_file", "/x"), "staging true"),
        (("gproc_fils", "/x"), "no option 'gproc_fils'"),
        (("gproc_nice", "20"), "from -20 to 19"),
    ],
)
def test_a_wrong_value_is_refused_with_the_reason(attribute: Attribute, reason: str) -> None:
    with pytest.raises(BadAttribute, match=reason):
        invocation_of(with_(attribute))


def test_an_attribute_that_comes_twice_must_say_the_same() -> None:
    with pytest.raises(BadAttribute, match="count is there 2 times"):
        invocation_of([*PLAIN, ("count", "3")])
    assert invocation_of([*PLAIN, ("count", "2")]).count == 2


def test_ninf_gs_java_client_may_send_max_memory_as_min_memory() -> None:
    assert invocation_of(with_(("min_memory", "64"), ("min_memory", "128"))).mem_bytes is None


def test_what_changes_nothing_is_named_with_the_reason() -> None:
    asked = invocation_of(with_(("queue_name", "short"), ("option", "x"), ("foo", "bar"), ("foo", "baz")))
    assert asked.ignored == ("queue_name: gproc has no queues", "option: unknown", "foo: unknown")


def test_every_attribute_is_on_the_page() -> None:
    told = set(re.findall(r"`([a-z_]+)[ `]", PAGE.read_text()))
    assert KNOWN - told == set()


def test_a_job_never_goes_back() -> None:
    for first in MOVES:
        for second in MOVES:
            states = JobStates()
            states.status = first
            assert states.move(second) == (second in MOVES[first])
            assert states.status == (second if second in MOVES[first] else first)
            assert states.ended == (states.status in ("DONE", "FAILED"))


def test_a_job_that_its_client_destroyed_is_done() -> None:
    assert end_status(failed=True, destroyed=False) == "FAILED"
    assert end_status(failed=True, destroyed=True) == "DONE"
    assert end_status(failed=False, destroyed=False) == "DONE"
