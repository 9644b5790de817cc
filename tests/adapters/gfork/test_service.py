"""gfork serves connections: programs, environments, limits, access, addresses."""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import resource
import signal
import socket
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.adapters.gfork.running import OURS, Gfork, Puppet, eventually, is_running
from tests.patience import PATIENCE_S

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
SHELL = "server = /bin/sh\n server_args = -c 'read word; echo got $word'"


def conversation(port: int, host: str = "127.0.0.1") -> bytes:
    with socket.create_connection((host, port), timeout=PATIENCE_S) as client:
        client.sendall(b"it\n")
        return client.makefile("rb").read()


def test_a_program_has_the_connection_as_its_input_and_output(tmp_path: Path) -> None:
    with Gfork(tmp_path, server=SHELL) as gfork:
        assert conversation(gfork.port) == b"got it\n"


def test_a_program_has_exactly_the_environment_of_the_file_and_what_is_kept(tmp_path: Path) -> None:
    lines = " env = A=1+2 'B=x y'\n env += C==\n passenv = PASSED UNSET"
    outside = {"X509_CERT_DIR": "/certs", "PASSED": "yes", "NOT_PASSED": "no", "GLOBUS_HOSTNAME": "front"}
    with Gfork(tmp_path, lines, masters=1, environment=outside) as gfork:
        child = gfork.child()
        found = child.ask("environment")
        read, write = found.pop("GFORK_CHILD_READ_ENV"), found.pop("GFORK_CHILD_WRITE_ENV")
        assert read.isdecimal() and write.isdecimal()
        found.pop("LC_CTYPE", None)  # Python's own, if there is no locale: PEP 538
        assert found == {
            "A": "1+2", "B": "x y", "C": "=", "X509_CERT_DIR": "/certs", "PASSED": "yes", "GLOBUS_HOSTNAME": "front",
            "GFORK_CHILD_CS_ENV": f"127.0.0.1:{gfork.port}", "GFORK_CHILD_INSTANCE_ENV": "100",
        }  # fmt: skip
        child.close()


def test_without_a_master_no_link_is_named(tmp_path: Path) -> None:
    with Gfork(tmp_path) as gfork:
        names = set(gfork.child().ask("environment")) - {"LC_CTYPE"}
        assert names <= {"GFORK_CHILD_CS_ENV", "GFORK_CHILD_INSTANCE_ENV", "GLOBUS_HOSTNAME"}


FACTS = "server = /bin/sh\n server_args = -c 'read word; id -u; id -g; id -G; umask; nice'"
"""A server that nobody may run: the tests' Python may be in a directory that is closed to others."""


@ROOT
def test_a_program_has_its_user_group_umask_and_priority(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    lines = " user = nobody\n nice = 7\n umask = 027"
    with Gfork(tmp_path, lines, server=FACTS) as gfork:
        expected = [str(nobody.pw_uid), str(nobody.pw_gid), str(nobody.pw_gid), "0027", "7"]
        assert conversation(gfork.port).decode().split() == expected
    daemon = str(grp.getgrnam("daemon").gr_gid)
    with Gfork(tmp_path, f"{lines}\n group = daemon\n groups = yes", server=FACTS) as gfork:
        found = conversation(gfork.port).decode().split()
        assert found[1] == daemon
        assert str(nobody.pw_gid) in found


@ROOT
def test_a_master_has_its_own_user_and_not_the_servers_priority(tmp_path: Path) -> None:
    script = "echo user $(id -u) nice $(nice) >&2; exec sleep 60"
    master = f"server = /bin/true\n master = /bin/sh\n master_args = -c '{script}'"
    with Gfork(tmp_path, " master-uid = 1\n nice = 7", server=master) as gfork:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        gfork.logged(f"user 1 nice {own}")


def test_no_process_has_descriptors_of_another(tmp_path: Path) -> None:
    with Gfork(tmp_path, masters=2) as gfork:
        family = [gfork.master(0), gfork.master(1), *(gfork.child() for _ in range(3))]
        held = Counter(name for each in family for name in set(each.ask("descriptors")))
        links = {name: count for name, count in held.items() if name.startswith("pipe:")}
        stdout, stderr = 2, len(family)  # gfork's own: masters have the one, all have the other
        assert sorted(links.values()) == [1] * (2 * len(family)) + [stdout, stderr]
        assert not any("socket:" in name and count > 1 for name, count in held.items())


def test_a_client_above_the_limit_is_told_so_and_a_place_that_is_free_is_used(tmp_path: Path) -> None:
    with Gfork(tmp_path, " instances = 2") as gfork:
        first, second = gfork.child(), gfork.child()
        assert first.pid != second.pid
        with gfork.dial() as third:
            third.sendall(b"USER anonymous\r\n")
            assert third.makefile("rb").read() == b"421 Too busy!\r\n"
        first.order("exit", status=0)
        assert first.is_over()
        gfork.logged("ended, status 0")
        assert gfork.child().pid


def test_the_words_for_a_crowd_can_be_chosen_and_a_source_can_have_a_limit(tmp_path: Path) -> None:
    with Gfork(tmp_path, r" per_source = 1" "\n" r" crowded = 421-Not now.\n421 Later") as gfork:
        first = gfork.child()
        assert first.pid
        with gfork.dial() as second:
            assert second.makefile("rb").read() == b"421-Not now.\n421 Later\r\n"


def test_unlimited_is_no_limit(tmp_path: Path) -> None:
    with Gfork(tmp_path, " instances = UNLIMITED") as gfork:
        child = gfork.child()
        assert int(child.ask("environment")["GFORK_CHILD_INSTANCE_ENV"]) > 1_000_000


def test_only_clients_that_may_are_served(tmp_path: Path) -> None:
    with Gfork(tmp_path, " only_from = 10.0.0.0/8", server=SHELL) as gfork:
        with suppress(ConnectionError):  # it may be closed before our words are there
            assert conversation(gfork.port) == b""
        gfork.logged("127.0.0.1 may not connect")


def test_both_versions_of_ip_are_served(tmp_path: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with Gfork(tmp_path, server=SHELL, switches=("-b", "::1")) as gfork:
        assert conversation(gfork.port, "::1") == b"got it\n"
    text = (tmp_path / "gfork.conf").read_text().replace(" bind = 127.0.0.1\n", "")
    with Gfork(tmp_path, server=SHELL) as gfork:
        gfork.config.write_text(text)
        gfork.signal(signal.SIGHUP)
        gfork.port = gfork.listening()
        assert conversation(gfork.port, "::1") == conversation(gfork.port, "127.0.0.1") == b"got it\n"


def test_a_program_that_cannot_be_executed_is_logged_and_its_client_is_let_go(tmp_path: Path) -> None:
    with Gfork(tmp_path, server="server = /nowhere/program") as gfork:
        with gfork.dial() as client:
            assert client.recv(1) == b""
        assert "/nowhere/program cannot be started: /nowhere/program: No such file" in gfork.logged("cannot be started")
        gfork.signal(signal.SIGTERM)
        assert gfork.wait() == 0
        log = gfork.log()
    lines = log.splitlines()
    assert len(lines) == len(set(lines)), "what was not written yet when a process was forked came twice"
    assert log.count("cannot be started") == 1


def test_a_hundred_connections_leave_no_process_and_no_descriptor(tmp_path: Path) -> None:
    with Gfork(tmp_path, server=SHELL, masters=1) as gfork:
        master = gfork.master()
        assert master.pid
        mine = Path(f"/proc/{gfork.process.pid}")
        before = len(list((mine / "fd").iterdir()))
        for _ in range(100):
            assert conversation(gfork.port) == b"got it\n"
            assert [master.receive()[0], master.receive()[0]] == ["O", "C"]
        eventually(lambda: len(list((mine / "fd").iterdir())) == before)
        assert len((mine / f"task/{gfork.process.pid}/children").read_text().split()) == 1
        master.close()


@pytest.mark.stress
def test_a_thousand_connections_at_once_leave_no_process_and_no_descriptor(tmp_path: Path) -> None:
    with Gfork(tmp_path, " instances = UNLIMITED", server=SHELL) as gfork:
        mine = Path(f"/proc/{gfork.process.pid}")
        before = len(list((mine / "fd").iterdir()))
        clients = [gfork.dial() for _ in range(1000)]
        for client in clients:
            client.sendall(b"it\n")
        for client in clients:
            with client:
                assert client.makefile("rb").read() == b"got it\n"
        eventually(lambda: len(list((mine / "fd").iterdir())) == before)
        eventually(lambda: not (mine / f"task/{gfork.process.pid}/children").read_text().split())


def test_a_master_that_was_replaced_leaves_no_descriptor(tmp_path: Path) -> None:
    with Gfork(tmp_path, masters=1) as gfork:
        mine = Path(f"/proc/{gfork.process.pid}/fd")
        master = gfork.master()
        assert master.pid
        before = len(list(mine.iterdir()))
        for _ in range(2):
            master.order("exit", status=0)
            assert master.is_over()
            master = gfork.master()
            assert master.pid
        eventually(lambda: len(list(mine.iterdir())) == before)


def test_a_lack_of_descriptors_is_survived(tmp_path: Path) -> None:
    with Gfork(tmp_path, " instances = 300", masters=1) as gfork:
        resource.prlimit(gfork.process.pid, resource.RLIMIT_NOFILE, (40, 4096))
        children: list[Puppet] = []
        refused = 0
        while not refused:
            children.append(gfork.child())
            children[-1].order("pid")
            try:
                children[-1].answer()
            except (OSError, EOFError, ValueError):
                refused += 1
        for child in children:
            child.close()
        gfork.logged("Too many open files")
        eventually(lambda: _is_served(gfork))


def _is_served(gfork: Gfork) -> bool:
    try:
        return gfork.child().pid > 0
    except (OSError, EOFError, ValueError):
        return False


def test_sigterm_ends_children_and_masters_first_kindly_then_by_force(tmp_path: Path) -> None:
    with Gfork(tmp_path, masters=1) as gfork:
        master, kind, stubborn = gfork.master(), gfork.child(), gfork.child()
        stubborn.ask("ignore", signal="SIGTERM")
        left = stubborn.ask("fork")
        pids = [master.pid, kind.pid, stubborn.pid, left]
        gfork.signal(signal.SIGTERM)
        assert kind.is_over()
        assert gfork.wait() == 0
        eventually(lambda: not any(map(is_running, pids)))


def test_sigint_ends_children_and_masters_too(tmp_path: Path) -> None:
    with Gfork(tmp_path, masters=1) as gfork:
        master, child = gfork.master(), gfork.child()
        pids = [master.pid, child.pid]
        gfork.signal(signal.SIGINT)
        assert gfork.wait() == 0
        eventually(lambda: not any(map(is_running, pids)))


def test_sighup_reads_the_configuration_again(tmp_path: Path) -> None:
    with Gfork(tmp_path, " instances = 1\n env = A=1") as gfork:
        child = gfork.child()
        assert child.ask("environment")["A"] == "1"
        gfork.write(" instances = 2\n env = A=2")
        gfork.signal(signal.SIGHUP)
        gfork.logged("the configuration is read again")
        assert gfork.child().ask("environment")["A"] == "2"
        assert child.ask("environment")["A"] == "1"


def test_a_configuration_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    with Gfork(tmp_path) as gfork:
        gfork.config.write_text("service test\n{\n server = relative\n}\n")
        gfork.signal(signal.SIGHUP)
        assert f"{gfork.config}:3:11" in gfork.logged("the configuration is not changed")
        assert gfork.child().pid


def test_sighup_starts_new_masters_and_ends_those_that_are_gone(tmp_path: Path) -> None:
    with Gfork(tmp_path, masters=2) as gfork:
        first, second = gfork.master(0), gfork.master(1)
        lines = gfork.config.read_text()
        start = lines.index(" master = ", lines.index(" master = ") + 1)
        gfork.config.write_text(lines[:start] + "}\n")
        gfork.signal(signal.SIGHUP)
        assert second.is_over()
        assert first.pid


def test_a_socket_of_systemd_is_used_and_systemd_is_told(tmp_path: Path) -> None:
    with socket.socket() as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(PATIENCE_S)
        start = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), "
        start += "LISTEN_FDS='1'); os.execv(sys.argv[2], sys.argv[2:])"
        with Gfork(
            tmp_path,
            server=SHELL,
            program=(sys.executable, "-c", start, str(listener.fileno()), *OURS),
            pass_fds=(listener.fileno(),),
            environment={"NOTIFY_SOCKET": str(tmp_path / "notify")},
        ) as gfork:
            assert gfork.port == listener.getsockname()[1]
            assert notices.recv(1000).startswith(b"READY=1\n")
            assert conversation(gfork.port) == b"got it\n"
            gfork.signal(signal.SIGHUP)
            assert notices.recv(1000).startswith(b"RELOADING=1\n")
            assert notices.recv(1000).startswith(b"READY=1\n")
            gfork.signal(signal.SIGTERM)
            assert notices.recv(1000) == b"STOPPING=1"


def test_a_log_that_nobody_reads_holds_up_no_client(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    with Gfork(tmp_path, f" log_file = {fifo}", server=SHELL) as gfork:
        for _ in range(60):
            assert conversation(gfork.port) == b"got it\n"
        assert b" is served by " in os.read(reader, 1 << 16)
        gfork.signal(signal.SIGTERM)
        assert gfork.wait() == 0
    os.close(reader)
