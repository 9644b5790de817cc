"""Other ways to copy a file to many hosts of the lab: a loop of scp, and `clush --copy` down a tree.

Keys, configuration and servers exist while `Shells` is open.  Copies go to /mnt, which is each host's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Final

from bench.cleanup import uninterrupted
from bench.lab import HEAD, Lab, LabFailed

TARGET: Final = "/mnt/payload"

LISTENING_S: Final = 20.0
ASK_EVERY_S: Final = 0.05

_COPY_S: Final = 600
"""A limit, because clush waits for ever for a gateway that does not answer."""


class Shells:
    """An sshd on every host of a lab.  Root of any host may log in to any other with one key."""

    def __init__(self, lab: Lab, names: list[str]) -> None:
        self._lab = lab
        self._names = names
        self.place = ""
        self._servers: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Shells:
        self.place = tempfile.mkdtemp(prefix="gproc-bench-ssh-")
        try:
            for key in ("host", "user"):
                subprocess.run(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.place}/{key}"], check=True
                )
            self._write("sshd_config", _SERVER)
            self._write("ssh_config", _CLIENT)
            for name in self._names:
                self._servers[name] = subprocess.Popen(
                    [*self._lab.entry(name), _sshd(), "-D", "-e", "-f", f"{self.place}/sshd_config"],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
            for name in self._names:
                self._wait(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            for server in self._servers.values():
                server.terminate()
            for server in self._servers.values():
                server.wait()
            shutil.rmtree(self.place, ignore_errors=True)

    def scp_loop(self, path: str) -> float:
        """Seconds for one host after the other.  Raises: LabFailed."""
        loop = 'for host in "$@"; do scp -q -F "$config" "$path" "$host:$target" || exit; done'
        words = [f"config={self.place}/ssh_config", f"path={path}", f"target={TARGET}"]
        return self._seconds(["env", *words, "sh", "-c", loop, "sh", *map(self._lab.host, self._names)])

    def clush_copy(self, path: str, racks: dict[str, list[str]]) -> float:
        """Seconds with a tree that has the rack masters as gateways.  racks: the leaves of each rack master.

        Raises: LabFailed, also if a host did not get the file.
        """
        clush = clush_path()
        assert clush is not None
        gateways = ",".join(map(self._lab.host, racks))
        routes = [f"{HEAD}: {gateways}"]
        for rack, leaves in racks.items():
            routes.append(f"{self._lab.host(rack)}: {','.join(map(self._lab.host, leaves))}")
        self._write("topology.conf", "[routes]\n" + "\n".join(routes) + "\n")
        hosts = ",".join(map(self._lab.host, self._names))
        # A gateway runs the same interpreter, because the hosts share this machine's file system.
        took_s = self._seconds(
            ["env", f"CLUSTERSHELL_GW_PYTHON_EXECUTABLE={os.path.dirname(clush)}/python3",
             clush, "-q", "-w", hosts, "--topology", f"{self.place}/topology.conf",
             "-o", f"-F {self.place}/ssh_config", "--copy", path, "--dest", TARGET],
        )  # fmt: skip
        self.check(path)
        return took_s

    def check(self, path: str) -> None:
        """Check that every host has a copy: clush's exit status does not show failed gateways.  Raises: LabFailed."""
        for name in self._names:
            command = [*self._lab.entry(name), "cmp", "-s", path, TARGET]
            if subprocess.run(command, check=False).returncode:
                raise LabFailed(f"{self._lab.host(name)} has no copy")

    def _seconds(self, command: list[str]) -> float:
        began_s = time.perf_counter()
        try:
            done = subprocess.run(
                [*self._lab.entry(HEAD), *command], cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
                check=False, timeout=_COPY_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise LabFailed(f"{command[0]} took more than {_COPY_S} s") from error
        if done.returncode:
            raise LabFailed(f"{command[0]}: {done.stderr.decode(errors='replace').strip()[-300:]}")
        return time.perf_counter() - began_s

    def _wait(self, name: str) -> None:
        deadline_s = time.monotonic() + LISTENING_S
        probe = [*self._lab.entry(HEAD), "ssh", "-F", f"{self.place}/ssh_config", self._lab.host(name), "true"]
        while subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
            if self._servers[name].poll() is not None or time.monotonic() > deadline_s:
                raise LabFailed(f"no sshd on {self._lab.host(name)}")
            time.sleep(ASK_EVERY_S)

    def _write(self, name: str, text: str) -> None:
        with open(f"{self.place}/{name}", "w") as file:
            file.write(text.replace("PLACE", self.place))


def missing() -> str | None:
    """What this machine lacks for ssh; None if it has everything."""
    unavailable = [tool for tool in ("ssh", "scp", "ssh-keygen") if shutil.which(tool) is None]
    if not os.access(_sshd(), os.X_OK):
        unavailable.append("sshd")
    return f"not installed: {', '.join(unavailable)} (Debian: openssh-server)" if unavailable else None


def clush_path() -> str | None:
    """clush, beside our interpreter or on PATH."""
    return shutil.which("clush", path=os.path.dirname(sys.executable)) or shutil.which("clush")


def _sshd() -> str:
    """The full path, because sshd needs it to start itself again."""
    return shutil.which("sshd") or "/usr/sbin/sshd"


# No StrictModes, because the key is below /tmp; its directory is closed to other users.
_SERVER: Final = """\
HostKey PLACE/host
AuthorizedKeysFile PLACE/user.pub
PidFile none
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
MaxStartups 200
Subsystem sftp internal-sftp
"""

_CLIENT: Final = """\
IdentityFile PLACE/user
IdentitiesOnly yes
BatchMode yes
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""
