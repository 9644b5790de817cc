"""A program's surroundings, by the real command: on every kind of node they are as at home."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest


def lines(done: Any) -> list[str]:
    assert done.returncode == 0, done.stderr.decode()
    return [str(line) for line in done.stdout.decode().splitlines()]


def here(site: Any) -> str:
    """A pattern for the job's working directory, which on a plain node contains a name of the job's own."""
    return str(site.cluster.work)


def test_proc_names_a_shipped_program_itself(site: Any) -> None:
    shown = lines(site.run("1", "/bin/readlink", "/proc/self/exe"))
    if site.plain:
        assert "ld-linux" in shown[0]  # docs/fidelity.md
    else:
        assert shown == [os.path.realpath("/bin/readlink")]


def test_the_name_it_was_called_by_is_argv0(site: Any) -> None:
    assert lines(site.run("1", "cat", "/proc/self/comm")) == ["cat" if not site.plain else "ld-linux-x86-64"[:15]]
    script = "tr '\\0' '|' </proc/$$/cmdline; echo; echo $0"
    shown = lines(site.run("1", "sh", "-c", script, "zeroth", "first word", ""))
    assert shown[0].endswith(f"|-c|{script}|zeroth|first word||".replace("sh|", ""))
    assert shown[1] == "zeroth"


def test_a_script_knows_its_own_path(site: Any) -> None:
    path = site.cluster.write_program("script9", 'echo "$0"; [ -r "$0" ] && echo readable')
    name, readable = lines(site.run("1", "./script9"))
    assert readable == "readable"
    assert name.endswith(path) or name == "./script9"


def test_python_knows_its_executable(site: Any) -> None:
    python = shutil.which("python3", path="/usr/bin")
    if python is None:
        pytest.skip("needs /usr/bin/python3")
    script = "import sys, subprocess as s; print(sys.executable); print(s.check_output([sys.executable, '-c', '1']))"
    shown, child = lines(site.run("1", python, "-c", script))
    assert child == "b''"
    assert shown == python or (site.plain and shown.endswith(os.path.realpath(python)))


def test_the_working_directory_is_the_callers(site: Any) -> None:
    seen, root = lines(site.run("1", "/bin/sh", "-c", "/bin/pwd -P; echo $GPROC_ROOT"))
    assert seen == (root if site.plain else "") + here(site)
    assert root == site.root if not site.plain else root.startswith(site.root + "/")


def test_the_environment_is_the_callers_and_no_loader_variable_is_added(site: Any) -> None:
    odd = {"A": "1", "B": "two words", "EMPTY": "", "EQUALS": "a=b", "É": "ü", "LINES": "x\ny", "GPROC_ROOT": "/forged"}
    shown = site.run("1", "/usr/bin/env", "-0", env=odd)
    found = dict(item.split("=", 1) for item in shown.stdout.decode().split("\0") if item)
    del odd["GPROC_ROOT"]
    assert {name: found[name] for name in odd} == odd
    assert found["GPROC_ROOT"].startswith(site.root)
    assert not [name for name in found if name.startswith("LD_")]
    # GPROC_INIT is the test's own choice of the slave's init, in the caller's environment too.
    assert {name for name in found if name.startswith("GPROC_")} - {"GPROC_INIT"} == {
        "GPROC_HOME", "GPROC_JOB", "GPROC_NODE", "GPROC_RANK", "GPROC_SIZE", "GPROC_ROOT"
    }  # fmt: skip


def test_a_caller_in_the_locale_c_does_not_get_pythons_locale(site: Any) -> None:
    """Python sets LC_CTYPE at its start then: grep, sort and wc would count otherwise than at home."""
    if site.uid:
        pytest.skip("needs a process that may read its own /proc/self/environ: this one becomes another user by itself")
    shown = lines(site.run("1", "/usr/bin/env", env={"LANG": "C", "LC_ALL": ""}))
    assert "LANG=C" in shown
    assert not [line for line in shown if line.startswith("LC_CTYPE=")]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_umask_is_the_callers(site: Any, umask: int) -> None:
    assert int(lines(site.run("1", "/bin/sh", "-c", "umask", umask=umask))[0], 8) == umask


def lowering() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def test_the_limits_are_the_callers_as_far_as_the_nodes_hard_limits_let_them(site: Any) -> None:
    shown = site.run("1", "/bin/sh", "-c", "ulimit -S -n; ulimit -S -c", preexec_fn=lowering)
    assert lines(shown) == ["200", "0"]


def test_a_limit_above_the_nodes_hard_limit_becomes_the_hard_limit(site: Any) -> None:
    hard = Path(f"/proc/{site.slave.pid}/limits").read_text().split("Max open files")[1].split()[1]
    script = "ulimit -H -n"
    assert lines(site.run("1", "/bin/sh", "-c", script)) == [hard]


def test_a_program_has_only_descriptors_0_to_2(site: Any) -> None:
    script = "n=0; while [ $n -lt 100 ]; do [ -e /proc/$$/fd/$n ] && echo $n; n=$((n+1)); done; :"
    assert lines(site.run("1", "/bin/sh", "-c", script)) == ["0", "1", "2"]


def ignoring() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_every_signal_has_its_default_even_if_the_caller_ignored_it(site: Any) -> None:
    done = site.run("1", "/bin/cat", "/proc/self/status", preexec_fn=ignoring)
    status = dict(line.split(":\t", 1) for line in lines(done) if ":\t" in line)
    assert int(status["SigBlk"], 16) == 0
    # 32 and 33 are glibc's own: posix_spawn(3) cannot reset them.
    assert int(status["SigIgn"], 16) & ~(0b11 << 31) == 0


def test_a_pipe_without_a_reader_ends_a_program(site: Any) -> None:
    assert lines(site.run("1", "/bin/bash", "-c", "yes | head -n1; echo ${PIPESTATUS[0]}")) == ["y", "141"]


def test_a_program_leads_a_session_without_a_terminal(site: Any) -> None:
    script = "read -r pid comm state ppid pgrp session tty rest </proc/$$/stat; echo $((pid - session)) $tty"
    assert lines(site.run("1", "/bin/bash", "-c", script)) == ["0 0"]
    assert site.run("1", "/bin/sh", "-c", ": </dev/tty").returncode != 0


def test_a_program_runs_as_the_caller(site: Any) -> None:
    groups = (site.uid, 7, 8) if site.uid else ()
    shown = lines(site.run("1", "/bin/sh", "-c", "id -u; id -g; id -G", groups=groups))
    assert shown[:2] == [str(site.uid)] * 2
    if site.slave_is_root:
        assert sorted(map(int, shown[2].split())) == sorted(groups or os.getgroups() or [0])


def test_names_of_users_hosts_and_services_are_the_nodes(site: Any) -> None:
    name = "root" if site.uid == 0 else str(site.uid)
    shown = lines(site.run("1", "/bin/sh", "-c", "id -un 2>/dev/null; getent hosts localhost; getent services ssh"))
    assert shown[0] == name
    assert "localhost" in shown[1]
    assert shown[2].startswith("ssh ")


def test_a_locale_is_the_nodes(site: Any) -> None:
    env = {"LC_ALL": "C.UTF-8"}
    assert lines(site.run("1", "/bin/bash", "-c", "x=äöü; echo ${#x}; locale charmap", env=env)) == ["3", "UTF-8"]


def test_a_time_zone_is_the_nodes(site: Any) -> None:
    if not os.path.exists("/usr/share/zoneinfo/Asia/Tokyo"):
        pytest.skip("needs tzdata")
    shown = lines(site.run("1", "/bin/date", "-d", "@0", "+%H %Z", env={"TZ": "Asia/Tokyo"}))
    assert shown == ["09 JST"]


@pytest.mark.parametrize("code", [0, 1, 126, 127, 255])
def test_the_programs_exit_code_is_the_commands(site: Any, code: int) -> None:
    assert site.run("1", "/bin/sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_the_status_after_a_signal_is_128_plus_the_signal(site: Any, signum: int) -> None:
    assert site.run("1", "/bin/sh", "-c", f"kill -{int(signum)} $$").returncode == 128 + signum


def test_a_core_dump_is_reported(site: Any) -> None:
    if not Path("/proc/sys/kernel/core_pattern").read_text().startswith("core"):
        pytest.skip("needs core dumps written to the working directory")
    done = site.run("1", "/bin/bash", "-c", "ulimit -c unlimited; kill -SEGV $$")
    assert done.returncode == 128 + signal.SIGSEGV
    assert "core" in done.stderr.decode()


def test_a_program_that_closes_its_output_goes_on(site: Any) -> None:
    script = "exec >&- 2>&-; sleep 0.1; exit 5"
    assert site.run("1", "/bin/sh", "-c", script).returncode == 5


def test_daemons_end_with_their_program(site: Any) -> None:
    script = "setsid sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 </dev/null & echo started"
    assert lines(site.run("1", "/bin/sh", "-c", script)) == ["started"]
    site.cluster.nothing_runs()


def test_a_fork_bomb_is_bounded(site: Any) -> None:
    script = "bomb() { echo x; bomb & bomb & wait; }; bomb 2>/dev/null"
    limit = "20" if site.slave_is_root else "40"
    done = site.run("--max-procs", limit, "1", "/bin/sh", "-c", script)
    if done.returncode == 125:
        assert "can only be bounded by a cgroup" in done.stderr.decode()
    else:
        assert 2 <= done.stdout.count(b"x") <= 400
    site.cluster.nothing_runs()


def test_memory_is_bounded(site: Any) -> None:
    script = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"
    assert site.run("--mem", "64M", "1", "/bin/sh", "-c", script).returncode != 0


def test_cpus_and_niceness_are_as_the_switches_say(site: Any) -> None:
    shown = lines(site.run("--cpus", "1", "--nice", "3", "1", "/bin/sh", "-c", "nproc; nice"))
    assert shown == ["1", str(os.nice(0) + 3)]


def test_a_library_in_a_directory_of_L_is_found(site: Any, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    work = site.cluster.work
    (work / "l").mkdir(exist_ok=True)
    (work / "m.c").write_text("#include <stdio.h>\nconst char *w(void);\nint main(void) { return puts(w()) < 0; }")
    (work / "w.c").write_text('const char *w(void) { return "found"; }')
    for words in ("-shared -fPIC -o l/libw9.so w.c", "-o m9 m.c -Ll -lw9"):
        os.spawnvp(os.P_WAIT, "sh", ["sh", "-c", f"cd {work} && gcc {words}"])
    assert lines(site.run("-L", str(work / "l"), "1", "./m9")) == ["found"]
    assert site.run("-L", str(work / "l"), "1", "/bin/sh", "-c", "echo fine").stdout == b"fine\n"


def test_nothing_is_left_in_binroot(site: Any) -> None:
    assert lines(site.run("1", "/bin/sh", "-c", "echo x >here; mkdir -p d/e; chmod 0 d; cat here")) == ["x"]
    assert list(Path(site.root).iterdir()) == []
