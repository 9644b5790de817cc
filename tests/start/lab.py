"""Hosts for `gproc start`: each with a network, a root, processes and a name of its own, and an sshd; nothing else.

A root holds busybox and what our own packager says that sshd needs: no Python, no gproc, not even a libc that a program
of ours would use.  The front end has this machine's root, and no way to the hosts but their network.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

import gproc
from gproc.bundle import archive
from gproc.packager import PackRequest, pack, read_chunk
from tests.patience import PATIENCE_S

NETWORK: Final = "10.84.7"
HEAD: Final = f"{NETWORK}.254"

COPY_TO_NODES: Final = Path(__file__).parents[2] / "scripts" / "copytonodes.sh"
SFTP: Final = 'echo "Subsystem sftp internal-sftp" >>"$root/etc/sshd_config"'
"""A line for `Lab.add`: scp works there."""

SSHD: Final = "/usr/sbin/sshd"
TOOLS: Final = ("ip", "unshare", "nsenter", "mount", "busybox", "ssh-keygen", "ssh")

SSHD_CONFIG: Final = """\
HostKey /etc/host_key
AuthorizedKeysFile /etc/authorized_keys
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
UseDNS no
MaxStartups 200
"""

BOOT: Final = """
set -e
mount -t tmpfs -o mode=0755,size=400m tmpfs "$root"
cp -a "$template/." "$root/"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
mkdir "$root/dev/shm" "$root/dev/pts"
for node in null zero urandom; do touch "$root/dev/$node"; mount --bind "/dev/$node" "$root/dev/$node"; done
cp "$key" "$root/etc/authorized_keys"
hostname "$name"
eval "$more"
ip link set lo up
exec $before chroot "$root" /usr/sbin/sshd -D -e -f /etc/sshd_config
"""


def why_not() -> str:
    """What this machine lacks; "" if it has everything."""
    if os.getuid() != 0:
        return "needs root, for hosts with networks of their own"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not os.path.exists(SSHD):
        lacking.append("sshd")
    if lacking:
        return f"needs {', '.join(lacking)} (Debian: openssh-server, busybox-static, iproute2)"
    if subprocess.run(["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "true"]).returncode != 0:
        return "needs namespaces"
    return ""


class Lab:
    """hosts: by name, h1, h2, ..., with their addresses."""

    def __init__(self, place: Path, head: str = f"{HEAD}/24") -> None:
        """head: the front end's address, and how many bits of it all hosts have alike."""
        self.place = place
        self._bits = head.partition("/")[2]
        self.hosts: dict[str, str] = {}
        self._inits: dict[str, subprocess.Popen[bytes]] = {}
        self.home = place / "home"
        self.gproc_home = self.home / "gproc"
        self.socket = place / "g"
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        self.gproc_home.mkdir(mode=0o700)
        for name in ("user", "other", "host"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(place / name)]
            subprocess.run(words, check=True)
        shutil.copy(place / "user", self.home / ".ssh" / "id_ed25519")
        self._make_template()
        self._head = self._network("head", head)

    # Hosts

    def add(
        self, name: str, *, address: str = "", more: str = "", key: str = "user", known: bool = True
    ) -> None:
        """Boot a host.  more: a line of shell before sshd starts, with $root.  key: which may log in."""
        number = len(self.hosts) + 1
        address = address or f"{NETWORK}.{number}"
        self.hosts[name] = address
        root = self.place / "roots" / name
        root.mkdir(parents=True)
        environ = {
            "PATH": os.defpath + ":/usr/sbin:/sbin", "root": str(root), "template": str(self.template), "name": name,
            "more": more, "key": f"{self.place}/{key}.pub",
        }  # fmt: skip
        words = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        self._inits[name] = subprocess.Popen(
            [*words, "sh", "-c", BOOT], env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=(self.place / f"{name}.log").open("wb"), start_new_session=True,
        )  # fmt: skip
        self._connect(name, number, address)
        if known:
            self.know(name, "host")
        self._write_ssh_config()

    def know(self, name: str, key: str) -> None:
        value = " ".join((self.place / f"{key}.pub").read_text().split()[:2])
        with (self.home / ".ssh" / "known_hosts").open("a") as file:
            file.write(f"{self.hosts[name]} {value}\n")

    def alias(self, name: str, address: str) -> None:
        """A name that ssh knows, without a host of ours."""
        self.hosts[name] = address
        self._write_ssh_config()

    def shell(self, name: str, line: str) -> str:
        """What a line of shell says on a host, by another way than ssh."""
        init = self._init(name)
        words = ["nsenter", "-t", str(init), "--all", "chroot", str(self.place / "roots" / name), "/bin/sh", "-c", line]
        return subprocess.run(words, capture_output=True, text=True, env={"PATH": "/bin:/usr/sbin"}).stdout

    def ip(self, name: str, *words: str) -> None:
        """Change a host's network, by ip(8)."""
        subprocess.run(["nsenter", "-t", str(self._init(name)), "--net", "ip", *words], check=True)

    def put(self, name: str, source: Path, to: str) -> None:
        """A file of ours on a host."""
        words = ["nsenter", "-t", str(self._init(name)), "--all", "chroot", str(self.place / "roots" / name)]
        with source.open("rb") as file:
            words += ["/bin/sh", "-c", f"cat >{to}"]
            subprocess.run(words, stdin=file, env={"PATH": "/bin:/usr/sbin"}, check=True)

    def path(self, name: str, path: str) -> Path:
        """A path of the host's, as processes here find it."""
        return Path(f"/proc/{self._init(name)}/root/{path}")

    def slave(self, name: str) -> str:
        """The pid, on the host, of the slave that runs there; "" if there is none."""
        return self.shell(name, "ps | grep '[_]_started' | awk '{print $1}' | head -n 1").strip()

    def await_no_slave(self, name: str) -> None:
        """A slave ends a moment after its master."""
        until_s = time.monotonic() + PATIENCE_S
        while self.slave(name):
            assert time.monotonic() < until_s, self.shell(name, "ps")

    def await_sshd(self) -> None:
        for name in self._inits:
            self.ssh(name, "true")

    def ssh(self, name: str, line: str) -> str:
        words = [*self.in_head(), "ssh", "-F", str(self.home / ".ssh" / "config"), "-o", "StrictHostKeyChecking=no"]
        words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectionAttempts=50", "-o", "LogLevel=ERROR"]
        words += ["-i", str(self.home / ".ssh" / "id_ed25519"), name, line]
        return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S).stdout

    # The front end

    def environ(self, python_path: str = "") -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.home), "LANG": "C.UTF-8",
            "GPROC_HOME": str(self.gproc_home), "PYTHONPATH": python_path or str(Path(gproc.__file__).parents[1]),
            "XDG_CACHE_HOME": str(self.place / "cache"), "COLUMNS": "200",
        }  # fmt: skip

    def begin(self, *words: str, python_path: str = "", **more: Any) -> subprocess.Popen[str]:
        """A gproc command on the front end.  python_path: of another gproc than this one."""
        environ = self.environ(python_path)
        command = [*self.in_head(), sys.executable, "-m", "gproc", words[0], f"--socket={self.socket}", *words[1:]]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        return subprocess.Popen(command, env=environ, text=True, cwd=self.place, **streams)

    def run(self, *words: str, python_path: str = "") -> subprocess.CompletedProcess[str]:
        process = self.begin(*words, python_path=python_path)
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def copy_to_nodes(self, first: int, last: int, pattern: str) -> subprocess.CompletedProcess[str]:
        """What scripts/copytonodes.sh says when a person types it on the front end."""
        gproc_here = self.place / "gproc"
        gproc_here.write_text(f'#!/bin/sh\nexec {sys.executable} -m gproc "$@"\n')
        gproc_here.chmod(0o755)
        ssh = self.home / ".ssh"
        environ = self.environ() | {
            "GPROC": str(gproc_here), "GPROC_PATTERN": pattern, "TMPDIR": str(self.place),
            "GPROC_SSH_OPTIONS": f"-F {ssh}/config -i {ssh}/id_ed25519 -o UserKnownHostsFile={ssh}/known_hosts",
        }  # fmt: skip
        return subprocess.run(
            [*self.in_head(), "sh", str(COPY_TO_NODES), str(first), str(last)], env=environ,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=4 * PATIENCE_S,
        )  # fmt: skip

    def close(self) -> None:
        self.run("stop")
        for init in self._inits.values():
            init.send_signal(signal.SIGKILL)
        for init in self._inits.values():
            init.wait()
        self._head.kill()
        self._head.wait()

    # How it is made

    def _make_template(self) -> None:
        """A root with sshd and busybox."""
        self.template = self.place / "template"
        for directory in ("bin", "dev", "etc", "proc", "root", "run/sshd", "sys", "tmp", "var/tmp", "usr/sbin"):
            (self.template / directory).mkdir(parents=True, exist_ok=True)
        (self.template / "tmp").chmod(0o1777)
        (self.template / "var" / "tmp").chmod(0o1777)
        extra = tuple(path for path in ("/usr/lib/openssh/sshd-session", "/usr/lib/openssh/sshd-auth")
                      if os.path.exists(path))  # fmt: skip
        bundle = pack(PackRequest(SSHD, "/", {}, extra, cache_dir=str(self.place / "cache" / "bundles")))
        file = io.BytesIO()
        archive.write(bundle.manifest, partial(read_chunk, bundle), file)
        file.seek(0)
        with tarfile.open(fileobj=file) as packed:
            packed.extractall(self.template, filter="fully_trusted")
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, self.template / "bin" / "busybox")
        for name in subprocess.run([busybox, "--list"], capture_output=True, text=True).stdout.split():
            if not os.path.lexists(self.template / "bin" / name):
                os.symlink("busybox", self.template / "bin" / name)
        (self.template / "etc" / "passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/bin/false\n"
        )
        (self.template / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
        (self.template / "etc" / "sshd_config").write_text(SSHD_CONFIG)
        shutil.copy(self.place / "host", self.template / "etc" / "host_key")
        (self.template / "etc" / "host_key").chmod(0o600)

    def _network(self, name: str, address: str) -> subprocess.Popen[bytes]:
        """A process that holds the front end's network, with the bridge in it."""
        script = (
            "ip link set lo up && ip link add switch type bridge && ip link set switch up"
            f" && ip addr add {address} dev switch && hostname {name} && echo up && exec sleep infinity"
        )
        holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        return holder

    def _connect(self, name: str, number: int, address: str) -> None:
        init = self._init(name)
        ip = [*self.in_head(), "ip"]
        words = [*ip, "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", str(init)]
        subprocess.run(words, check=True)
        subprocess.run([*ip, "link", "set", f"p{number}", "master", "switch", "up"], check=True)
        self.ip(name, "addr", "add", f"{address}/{self._bits}", "dev", "eth0")
        self.ip(name, "link", "set", "eth0", "up")

    def _init(self, name: str) -> int:
        """The host's process 1, the child of unshare(1)."""
        parent = self._inits[name].pid
        while True:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            if children:
                return int(children[0])
            assert self._inits[name].poll() is None, (self.place / f"{name}.log").read_text()

    def in_head(self) -> Sequence[str]:
        return ["nsenter", "-t", str(self._head.pid), "--net", "--uts"]

    def _write_ssh_config(self) -> None:
        entries = [f"Host {name}\n  HostName {address}\n  User root\n" for name, address in self.hosts.items()]
        (self.home / ".ssh" / "config").write_text("".join(entries))


def lab_or_skip(place: Path) -> Lab:
    if reason := why_not():
        pytest.skip(reason)
    return Lab(place)
