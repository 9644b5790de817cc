"""Which hosts were started and where they stand, in `$GPROC_HOME/started.json`: so that a place stays its host's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Final

import msgspec

from gproc.errors import GprocError
from gproc.start.plan import Standing
from gproc.trust.home import SECRET_MODE, locked, write_file
from gproc.trust.names import ClusterId

FILE: Final = "started.json"


def registered(home: str) -> list[Standing]:
    """In the order in which they came.  Raises: GprocError if the file is damaged."""
    path = os.path.join(home, FILE)
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=list[Standing])
    except FileNotFoundError:
        return []
    except OSError as error:
        raise GprocError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise GprocError(f"{path} is damaged ({error}): remove it, and name the hosts again with -w") from error


def remember(home: str, standings: Iterable[Standing]) -> None:
    """Add them; one that is there already is replaced."""
    with locked(home):
        by_host = {standing.host: standing for standing in registered(home)}
        by_host |= {standing.host: standing for standing in standings}
        _write(home, list(by_host.values()))


def forget(home: str, standings: Iterable[Standing]) -> None:
    """Their places are free."""
    gone = {standing.host for standing in standings}
    with locked(home):
        _write(home, [standing for standing in registered(home) if standing.host not in gone])


def _write(home: str, standings: list[Standing]) -> None:
    content = msgspec.json.format(msgspec.json.encode(standings), indent=1)
    write_file(os.path.join(home, FILE), content + b"\n", SECRET_MODE)


def slave_name(cluster: ClusterId, name: str) -> str:
    """The name by which a node knows the slave of this cluster: homes may be shared, so the node's name is in it."""
    return f"s-{str(cluster)[:12]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
