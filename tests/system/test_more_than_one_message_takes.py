"""A request that is too much for one message is sent in several, or refused before anything is sent.  Before, the
master ended the connection, since it could not read the message; that named neither the word nor what to do."""

from __future__ import annotations

import pytest

import gproc
from gproc.wire.job_messages import KillJob
from tests.loop import run
from tests.system.cluster import Cluster

LONG = "n" * 65

ABSENT = [str(number) for number in range(500_000, 510_001)]
"""One more than one message takes."""


def test_more_records_are_removed_at_once_than_one_message_names(flat: Cluster) -> None:
    assert flat.exec("1", "/bin/true").returncode == 0
    number = flat.command("ps", "-a").stdout.splitlines()[-1].split()[0].decode()
    done = flat.command("rm", *ABSENT, number)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines), lines[-1]) == (2, len(ABSENT), b"gproc: you have no job 510000")
    assert f"you have no job {number}".encode() in flat.command("wait", number).stderr


def test_no_job_is_removed_that_nobody_named_because_a_former_message_took_the_last_one(flat: Cluster) -> None:
    """`last`, and a name that two jobs have had, meant the job before, when 10,000 others had been asked for."""
    for _ in range(2):
        assert flat.exec("--name=twice", "1", "/bin/true").returncode == 0
    older, newer = (row.split()[0].decode() for row in flat.command("ps", "-a").stdout.splitlines()[-2:])
    assert flat.command("rm", newer, *ABSENT, "last", "twice", newer).returncode == 2
    assert f"you have no job {newer}".encode() in flat.command("wait", newer).stderr
    assert flat.command("wait", older).returncode == 0, "nobody named it"


def test_more_names_than_one_message_takes_are_refused_before_anything_is_removed(flat: Cluster) -> None:
    assert flat.exec("1", "/bin/true").returncode == 0
    refused = flat.command("rm", "last", *(f"n{number}" for number in range(10_000)))
    assert (refused.returncode, b"give their numbers" in refused.stderr) == (2, True), refused.stderr
    assert flat.command("wait", "last").returncode == 0


@pytest.mark.parametrize("verb", ["rm", "kill", "wait", "logs", "attach", "stacks"])
def test_what_is_too_long_for_the_name_of_a_job_is_refused_and_said(flat: Cluster, verb: str) -> None:
    refused = flat.command(verb, LONG)
    assert refused.returncode == 2, refused.stderr
    assert b"cannot be the name of a job" in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_a_job_that_cannot_be_ends_no_other_job_of_the_connection(flat: Cluster) -> None:
    with gproc.connect(str(flat.socket)) as cluster:
        with cluster.popen("2", ["/bin/cat"], local_bin=True, stdin=gproc.PIPE) as other:
            for ask in (cluster.wait, cluster.kill, cluster.attach, cluster.stacks, cluster.remove):
                with pytest.raises(gproc.UsageError, match="cannot be the name of a job"):
                    ask(LONG)
            assert len(cluster.remove(*ABSENT)) == len(ABSENT)
            done = other.communicate(b"fine\n")
        assert list(done.stdout.values()) == [b"fine\n"]

    async def asked() -> int:
        async with gproc.connect_async(str(flat.socket)) as cluster:
            with pytest.raises(gproc.UsageError, match="cannot be the name of a job"):
                await cluster.wait(LONG)
            with pytest.raises(gproc.UsageError, match="cannot be the name of a job"):
                await cluster.remove("1", LONG)
            return len(await cluster.remove(*ABSENT))

    assert run(asked()) == len(ABSENT)


def test_a_glob_that_is_longer_than_any_path_is_named(flat: Cluster) -> None:
    refused = flat.exec("--collect", "a" * 5000, "1", "/bin/true")
    said = refused.stderr.decode()
    assert (refused.returncode, "has 5000 bytes: a path has at most 4095" in said) == (2, True), said
    assert len(said) < 200


def test_more_groups_are_asked_for_than_one_message_names(flat: Cluster) -> None:
    refused = flat.exec(",".join(f"@g{number}" for number in range(300)), "/bin/true")
    assert b"there is no group @g0" in refused.stderr


def test_the_reason_for_which_a_connection_ends_is_told_to_the_client_and_in_the_masters_log(flat: Cluster) -> None:
    """It was in no log if the client had sent something before."""
    assert flat.master is not None
    with gproc.connect(str(flat.socket)) as cluster:
        assert cluster.jobs() == ()
        engine = cluster._engine
        engine.call(lambda session: session._send(KillJob(7, LONG, 15, "")))
        reason = "not a message of a client: Expected `str` of length <= 64"
        with pytest.raises(gproc.LinkLost, match=f"the master has ended this connection: {reason}"):
            cluster.jobs()
    flat.master.says(rf"ended the connection of a client of uid \d+: {reason}")
