"""What `gfork --check` finds on this machine: whether what a configuration names is there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from gproc.adapters.gfork.companion import node_switches
from gproc.adapters.gfork.keys import key_called
from gproc.adapters.gfork.listening import addresses_of
from gproc.adapters.gfork.settings import Configured, ServiceSettings
from gproc.adapters.gfork.spawning import account_of, gid_of
from gproc.errors import UsageError
from gproc.shown import reason_of


def faults_of(configured: Configured) -> Iterator[str]:
    """A sentence for each fault with which gfork could not start, or could not serve any client.

    Whether the port is free, and whether gfork may become the user, is not asked: the check may run beside the
    service, and as another user.
    """
    settings = configured.settings
    yield from _fault_of_program("server", settings.server)
    for master in settings.masters:
        yield from _fault_of_program("master", master.program)
    yield from _refusal(lambda: addresses_of(settings))
    if settings.user is not None:
        yield from _refusal(lambda: account_of(str(settings.user)))
    if settings.group is not None:
        yield from _refusal(lambda: gid_of(str(settings.group)))
    if settings.log_file not in (None, "-") and not os.path.isdir(directory := os.path.dirname(str(settings.log_file))):
        yield f"log_file = {settings.log_file}: there is no directory {directory}"
    yield from _faults_of_backend(configured, settings)


def _faults_of_backend(configured: Configured, settings: ServiceSettings) -> Iterator[str]:
    if configured.backend is None:
        return
    block = configured.backend
    called = f"service {block.name}, which the nodes run" if block.name else "the second service, which the nodes run"
    yield from _refusal(lambda: node_switches(block, settings, "localhost"))
    for line in block.entries:
        key = key_called(line.key)
        if not settings.local_bin and key is not None and key.name in ("server", "master"):
            for fault in _fault_of_program(key.name, line.value):
                yield f"{called}: {fault}"


def _fault_of_program(key: str, path: str) -> Iterator[str]:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        yield f"{key} = {reason_of(error)}"
        return
    if not stat.S_ISREG(mode):
        yield f"{key} = {path}: this is not a file"
    elif not mode & 0o111:
        yield f"{key} = {path}: this file is not executable"


def _refusal(asked: Callable[[], object]) -> Iterator[str]:
    try:
        asked()
    except UsageError as error:
        yield str(error)
