"""Makes the `Request` of a caller: packs the program, reads the surroundings, and checks the words.

It reads with the caller's rights alone.  The command line and the library both make their requests here.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from gproc.client.keywords import FilePath, FilePaths, paths_of
from gproc.errors import UsageError
from gproc.nodespec import NodeSpec
from gproc.packager import Bundle, PackRequest, pack
from gproc.request.limits import COUNT_MAX, Limits
from gproc.request.spec import WORDS_MAX, Action, BundleName, Request, TerminalSize


def program_request(
    nodes: str,
    argv: Sequence[bytes],
    *,
    bundle: Bundle | None,
    env: Mapping[bytes, bytes],
    cwd: bytes,
    own_cwd: bool = False,
    exclude: str = "",
    umask: int | None = None,
    stdin: bool = False,
    bin_root: bytes = b"",
    terminal: TerminalSize | None = None,
    timeout_s: float | None = None,
    max_procs: int | None = None,
    mem_bytes: int | None = None,
    cpus: int | None = None,
    nice: int | None = None,
    require_all: bool = False,
    fanout: int | None = None,
    max_fail: int | None = None,
    rlimits: Mapping[int, int] = MappingProxyType({}),
    collect: Iterable[str] = (),
    action: Action = "run",
) -> Request:
    """A request to run a program.  bundle: what is sent; None: each node's own program runs.

    rlimits: soft limits, by `resource.RLIMIT_...`, instead of the caller's own.

    Raises: SpecError for a malformed node specification; UsageError for another impossible value.
    """
    check_nodes(nodes, exclude)
    if max_fail is not None and fanout is None:
        raise UsageError("max-fail says when no more nodes begin, and without fanout all begin at once: add --fanout")
    if len(argv) > WORDS_MAX or len(env) > WORDS_MAX:
        raise UsageError(f"more than {WORDS_MAX} arguments or variables: give a list by standard input or as a file")
    try:
        return Request(
            nodes=nodes,
            exclude=exclude,
            action=action,
            argv=tuple(argv),
            env=tuple(name + b"=" + value for name, value in env.items()),
            cwd=cwd,
            own_cwd=own_cwd,
            umask=current_umask() if umask is None else umask,
            stdin=stdin,
            bundle=name_of(bundle),
            bin_root=bin_root,
            terminal=terminal,
            timeout_s=timeout_s,
            require_all=require_all,
            fanout=checked_count("fanout", fanout),
            max_fail=checked_count("max_fail", max_fail),
            collect=tuple(os.fsencode(glob.removeprefix("./")) for glob in collect),
            limits=Limits(max_procs, mem_bytes, cpus, nice, soft_limits(rlimits)),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def checked_count(name: str, count: int | None) -> int | None:
    """Raises: ValueError for one that no number of nodes can be."""
    if count is not None and not 1 <= count <= COUNT_MAX:
        raise ValueError(f"{name} is {count}: a number from 1 to {COUNT_MAX} is wanted")
    return count


def name_of(bundle: Bundle | None) -> BundleName | None:
    return None if bundle is None else BundleName(bundle.digest, bundle.manifest.size_bytes())


def check_nodes(nodes: str, exclude: str) -> None:
    """Raises: SpecError."""
    NodeSpec.parse(nodes)
    if exclude:
        NodeSpec.parse_exclusion(exclude)


def pack_program(
    command: Sequence[str], *, files: FilePaths = (), root: FilePath = "/", library_path: FilePaths = (), cwd: str,
    environ: Mapping[str, str], words: bool = True, nodes_programs: bool = False, with_package: bool = False,
    traced: bool = True, venv: str = "", explain: bool = False,
) -> Bundle:  # fmt: skip
    """command: the program's name and its words.

    words: whether these bring along what they name, and the caller's own programs what lies around them.
    nodes_programs: other programs that it names without a slash are the node's own.
    with_package: as of --with-package.  traced: what earlier traced runs of the program touched goes along.
    venv: a Python environment that goes along as a whole.
    explain: fill in `Bundle.reasons`; then the cache is not used.  Raises: BundleError and its kinds.
    """
    request = PackRequest(
        program=command[0],
        extra=paths_of(files),
        root=os.fspath(root),
        library_path=paths_of(library_path),
        cwd=cwd,
        environ=environ,
        command=tuple(command),
        words=words,
        around=words,
        nodes_programs=nodes_programs,
        with_package=with_package,
        traced=traced,
        venv=venv,
    )
    return pack(request, explain=explain)


def soft_limits(chosen: Mapping[int, int] = MappingProxyType({})) -> tuple[tuple[int, int], ...]:
    """The limits that a program would inherit here, except RLIMIT_NPROC, which counts this machine's processes.

    chosen: by resource, instead of these.
    """
    kinds = (
        resource.RLIMIT_AS, resource.RLIMIT_CORE, resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE,
        resource.RLIMIT_MEMLOCK, resource.RLIMIT_NOFILE, resource.RLIMIT_STACK,
    )  # fmt: skip
    return tuple(({kind: resource.getrlimit(kind)[0] for kind in kinds} | dict(chosen)).items())


def current_umask() -> int:
    """The umask of this process.  It is not changed for a moment, as umask(2) would: other threads may make files."""
    with contextlib.suppress(OSError), open("/proc/self/status", "rb") as status:
        for line in status:  # proc_pid_status(5), since Linux 4.7
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
