"""scripts/copytonodes.sh: its logic with replaced ssh and scp, and the whole with a real sshd on loopback."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SCRIPT = CHECKOUT / "scripts" / "copytonodes.sh"
IDENTITY = ["ca.crt", "node.crt", "node.key", "ticket.pub"]

# Nodes are directories below $NODES: `ssh` runs in them, `scp` copies to them.  A node without a directory is down.
FAKE_SSH = """#!/bin/sh
echo "ssh $*" >>"$NODES/calls"
while [ "$1" != -n ]; do shift; done
cd "$NODES/${2#*@}" && HOME=$PWD exec sh -c "$3"
"""
FAKE_SCP = """#!/bin/sh
echo "scp $*" >>"$NODES/calls"
while [ "$1" != -p ]; do shift; done
node=${3%%:*}
if [ ! -d "$NODES/${node#*@}" ]; then
    echo "ssh: connect to host $node: No route to host" >&2
    exit 255
fi
exec cp -Rp "$2" "$NODES/${node#*@}/${3#*:}"
"""
FAKE_CERT = """#!/bin/sh
[ "$1 $2" = "cert --out" ] || exit 2
out=$3
shift 3
for name; do
    mkdir -p "$out/$name"
    for file in ca.crt ticket.pub node.crt node.key; do echo "$file of $name" >"$out/$name/$file"; done
done
"""
FORCED_COMMAND = """#!/bin/sh
# Each loopback address is a node with a home of its own: SSH_CONNECTION's third word.
set -- $SSH_CONNECTION
cd "{nodes}/$3" && HOME=$PWD exec sh -c "$SSH_ORIGINAL_COMMAND"
"""


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def nodes(tmp_path: Path) -> Path:
    """The nodes' home directories."""
    directory = tmp_path / "nodes"
    directory.mkdir()
    return directory


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An archive like that of node-package.sh, with a `gproc` that prints hello."""
    tree = tmp_path / "tree"
    (tree / "lib" / "gproc").mkdir(parents=True)
    script(tree / "gproc", "#!/bin/sh\necho hello\n")
    with tarfile.open(tmp_path / "package.tar", "w") as archive:
        for name in ("gproc", "lib"):
            archive.add(tree / name, name)
    return tmp_path / "package.tar"


@pytest.fixture
def environ(tmp_path: Path, package: Path, nodes: Path) -> dict[str, str]:
    """An environment with the above ssh, scp and `gproc cert`."""
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "ssh", FAKE_SSH)
    script(tmp_path / "bin" / "scp", FAKE_SCP)
    inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    inherited["PATH"] = f"{tmp_path / 'bin'}:{inherited['PATH']}"
    return {
        **inherited,
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "NODES": str(nodes),
        "GPROC": str(script(tmp_path / "bin" / "gproc-cert", FAKE_CERT)),
        "GPROC_PACKAGE": str(package),
    }


def copy(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", SCRIPT, *arguments], env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def assert_provided(home: Path, name: str, dest: str = ".local/share/gproc") -> None:
    identity = home / ".config" / "gproc"
    assert stat.S_IMODE(identity.stat().st_mode) == 0o700
    assert sorted(os.listdir(identity)) == IDENTITY
    for file in identity.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text() == f"{file.name} of {name}\n"
    assert subprocess.check_output([home / dest / "gproc"], text=True) == "hello\n"
    assert [left for left in os.listdir(home) if left.startswith(".gproc")] == []
    assert os.listdir((home / dest).parent) == ["gproc"]


def test_every_node_gets_gproc_and_its_own_identity(environ: dict[str, str], nodes: Path) -> None:
    for number in range(1, 21):
        (nodes / f"kn{number}").mkdir()
    done = copy({**environ, "GPROC_PARALLEL": "3"}, "1", "20")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for number in range(1, 21):
        assert_provided(nodes / f"kn{number}", f"kn{number}")


def test_a_second_copy_replaces_the_first(environ: dict[str, str], nodes: Path) -> None:
    (nodes / "kn7").mkdir()
    assert copy(environ, "7", "7").returncode == 0
    stale = nodes / "kn7" / ".local" / "share" / "gproc" / "lib" / "stale.py"
    stale.touch()
    assert copy(environ, "7", "7").returncode == 0
    assert not stale.exists()
    assert_provided(nodes / "kn7", "kn7")


def test_a_failing_node_is_named_and_the_others_are_served(environ: dict[str, str], nodes: Path) -> None:
    for number in (1, 2, 4, 5):
        (nodes / f"kn{number}").mkdir()
    done = copy(environ, "1", "5")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "copytonodes: kn3: ssh: connect to host kn3: No route to host",
        "copytonodes: 1 of 5 nodes failed",
    ]
    for number in (1, 2, 4, 5):
        assert_provided(nodes / f"kn{number}", f"kn{number}")


def test_prefix_user_destination_and_options_come_from_the_environment(environ: dict[str, str], nodes: Path) -> None:
    (nodes / "rack-3").mkdir()
    environ |= {
        "GPROC_PREFIX": "rack-",
        "GPROC_USER": "ops",
        "GPROC_DEST": "opt/my gproc/gproc",
        "GPROC_SSH_OPTIONS": "-o Port=2222",
    }
    done = copy(environ, "3", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert_provided(nodes / "rack-3", "rack-3", "opt/my gproc/gproc")
    calls = (nodes / "calls").read_text().splitlines()
    assert [call.split()[:3] for call in calls] == [["scp", "-o", "Port=2222"], ["ssh", "-o", "Port=2222"]]
    assert all("ops@rack-3" in call for call in calls)


def test_a_destination_that_is_not_gprocs_is_left_alone(environ: dict[str, str], nodes: Path) -> None:
    (nodes / "kn1" / "precious").mkdir(parents=True)
    done = copy({**environ, "GPROC_DEST": "precious"}, "1", "1")
    assert done.returncode == 1
    assert "kn1: precious exists already and is not gproc's" in done.stderr
    assert os.listdir(nodes / "kn1") == ["precious"]


def test_nodes_are_served_in_parallel_but_no_more_than_allowed(
    environ: dict[str, str], nodes: Path, tmp_path: Path
) -> None:
    # Each scp waits for a second one, so one at a time would never end, and counts how many run.
    for number in range(1, 7):
        (nodes / f"kn{number}").mkdir()
    program = f"""#!{sys.executable}
import os, sys
here = {str(tmp_path)!r}
mark = os.path.join(here, "running", str(os.getpid()))
open(mark, "w").close()
while len(os.listdir(os.path.join(here, "running"))) < 2 and not os.path.exists(here + "/met"):
    pass
open(here + "/met", "w").close()
with open(here + "/counts", "a") as counts:
    print(len(os.listdir(os.path.join(here, "running"))), file=counts)
os.unlink(mark)
sys.exit(1)
"""
    (tmp_path / "running").mkdir()
    script(tmp_path / "bin" / "scp", program)
    assert copy({**environ, "GPROC_PARALLEL": "2"}, "1", "6").returncode == 1
    counts = [int(line) for line in (tmp_path / "counts").read_text().splitlines()]
    assert len(counts) == 6
    assert max(counts) == 2


@pytest.mark.parametrize(
    "arguments", [(), ("1",), ("1", "2", "3"), ("a", "2"), ("0", "2"), ("1", "-2"), ("1", ""), ("-h",)]
)
def test_wrong_arguments_get_the_usage_and_status_2(environ: dict[str, str], arguments: tuple[str, ...]) -> None:
    done = copy(environ, *arguments)
    assert done.returncode == 2
    assert "Usage: sh scripts/copytonodes.sh FIRST LAST" in done.stderr
    assert "GPROC_PREFIX" in done.stderr


@pytest.mark.parametrize(
    ("variables", "arguments", "message"),
    [
        ({}, ("5", "1"), "the first node, 5, is above the last, 1"),
        ({"GPROC_PARALLEL": "many"}, ("1", "2"), "GPROC_PARALLEL is 'many'"),
        ({"GPROC_DEST": "it's"}, ("1", "2"), "GPROC_DEST"),
    ],
)
def test_wrong_settings_are_named_and_get_status_2(
    environ: dict[str, str], variables: dict[str, str], arguments: tuple[str, ...], message: str
) -> None:
    done = copy({**environ, **variables}, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_nothing_is_copied_when_certificates_cannot_be_made(environ: dict[str, str], nodes: Path) -> None:
    environ["GPROC"] = "false"
    done = copy(environ, "1", "2")
    assert done.returncode == 1
    assert "certificates could not be made" in done.stderr
    assert os.listdir(nodes) == []


def test_nothing_is_left_on_the_front_end(environ: dict[str, str], nodes: Path, tmp_path: Path) -> None:
    (nodes / "kn1").mkdir()
    before = sorted(os.listdir(tmp_path))
    copy(environ, "1", "2")
    assert sorted(os.listdir(tmp_path)) == before


def test_the_identities_are_those_that_gproc_cert_makes(environ: dict[str, str], nodes: Path, tmp_path: Path) -> None:
    (nodes / "kn1").mkdir()
    real = script(tmp_path / "real-gproc", f'#!/bin/sh\nexec {sys.executable} -m gproc "$@"\n')
    done = copy({**environ, "GPROC": str(real), "PYTHONPATH": str(CHECKOUT)}, "1", "1")
    assert (done.returncode, done.stderr) == (0, "")
    identity = nodes / "kn1" / ".config" / "gproc"
    assert sorted(os.listdir(identity)) == IDENTITY
    assert "PRIVATE KEY" in (identity / "node.key").read_text()
    assert stat.S_IMODE((identity / "node.key").stat().st_mode) == 0o600


@pytest.fixture
def sshd_options(tmp_path: Path, nodes: Path) -> Iterator[str]:
    """The ssh options for a running sshd, which takes each address 127.x.x.x for a node."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if sshd is None or shutil.which("ssh") is None or shutil.which("scp") is None:
        pytest.skip("openssh-server and openssh-client are not installed: no sshd to copy to")
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key], check=True)
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port = probe.getsockname()[1]
    forced = script(tmp_path / "forced", FORCED_COMMAND.format(nodes=nodes))
    configuration = {
        "Port": port,
        "HostKey": tmp_path / "host_key",
        "PidFile": "none",
        "AuthorizedKeysFile": tmp_path / "user_key.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "MaxStartups": 100,
        "ForceCommand": forced,
        "Subsystem": f"sftp {sftp_server()}",
    }
    (tmp_path / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in configuration.items()))
    # As root, sshd needs the directory /run/sshd, which the init system makes.
    own_run = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"', "sh"]
    needs_run = os.geteuid() == 0 and not os.path.isdir("/run/sshd")
    command = [*(own_run if needs_run else []), sshd, "-D", "-e", "-f", str(tmp_path / "sshd_config")]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    message = ""
    while "listening" not in message:
        line = server.stderr.readline()
        if not line:
            pytest.skip(f"sshd does not start here, status {server.wait()}: {message}")
        message += line
    yield (
        f"-F /dev/null -i {tmp_path}/user_key -o Port={port} -o IdentitiesOnly=yes"
        " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    )
    server.terminate()
    server.stderr.close()
    server.wait()


def sftp_server() -> str:
    for directory in ("/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec"):
        if os.path.exists(f"{directory}/sftp-server"):
            return f"{directory}/sftp-server"
    pytest.skip("sftp-server is not installed: scp has nothing to talk to")


def test_a_real_sshd_is_copied_to(environ: dict[str, str], nodes: Path, sshd_options: str) -> None:
    environ |= {
        "PATH": os.environ["PATH"],
        "GPROC_PREFIX": "127.0.0.",
        "GPROC_USER": getpass.getuser(),
        "GPROC_SSH_OPTIONS": sshd_options,
    }
    for number in (1, 2, 4):
        (nodes / f"127.0.0.{number}").mkdir()
    done = copy(environ, "1", "4")
    assert done.returncode == 1
    assert "copytonodes: 127.0.0.3: " in done.stderr
    assert done.stderr.splitlines()[-1] == "copytonodes: 1 of 4 nodes failed"
    for number in (1, 2, 4):
        assert_provided(nodes / f"127.0.0.{number}", f"127.0.0.{number}")
