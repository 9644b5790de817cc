"""The keywords of a job in the library: one set for `run`, `popen` and their asyncio twins."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypedDict

from gproc.bundle.surroundings import working_directory
from gproc.bundle.venv import environment_at
from gproc.client.brought import BroughtBack
from gproc.client.keywords import FilePath, FilePaths, check_keywords, check_variables, checked_request, time_limit
from gproc.client.requests import pack_program, program_request
from gproc.errors import UsageError
from gproc.naming.naming import Naming
from gproc.packager import Bundle
from gproc.request.spec import Action, Request
from gproc.wire.job_messages import Keep

PIPE: Final = -1
DEVNULL: Final = -3
"""As `subprocess` has them."""

Word = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Args = Word | Sequence[Word]


class JobOptions(TypedDict, total=False):
    """The keywords of a job besides nodes and command.  Each corresponds to a switch of `gproc e` (docs/library.md).

    env: the program's whole environment; the caller's own if left out.  cwd: the caller's own if left out.
    node_cwd: the directory of the node that the program starts in, for real; as of --cwd.
    shell: `args` is one text for /bin/sh.  files: files and directories that go along, as of -f.
    words: whether the command's words bring along the files that they name, and own programs what lies around them;
    as without --no-words.
    with_package: what the program's package installs and depends on goes along.
    venv: the directory of a Python environment that goes along as a whole and is active; as of --venv.
    traced: what earlier runs by `gproc e --trace` touched goes along; as without --no-trace.
    local_bin: run each node's own program, and send nothing.  root, library_path: as of -r and -L.
    bundle: what `gproc.bundle` packed before; without it the program is packed now.
    exclude: nodes to leave out.  umask: the caller's own if left out.  bin_root: as of -binRoot.
    max_procs, mem_bytes, cpus, nice: bounds for the job on each node.
    fanout, max_fail: so many nodes at a time; after so many failures no more begin.
    rlimits: soft limits of the program, by `resource.RLIMIT_...`; those that are left out are the caller's own.
    collect, collect_to: files that the job wrote in its working directory and that match come back, each node's into a
    directory of its own below `collect_to`; as of --collect.
    name: of the job.  spool: its output is kept.  on_disconnect: "detach": the job goes on if this program ends or
    closes its connection; then its output is kept too.
    """

    env: Mapping[str, str] | None
    cwd: str | os.PathLike[str] | None
    node_cwd: str | os.PathLike[str] | None
    shell: bool
    files: FilePaths
    words: bool
    with_package: bool
    traced: bool
    venv: str | os.PathLike[str]
    local_bin: bool
    root: FilePath
    library_path: FilePaths
    bundle: Bundle | None
    exclude: str
    umask: int | None
    bin_root: str
    max_procs: int | None
    mem_bytes: int | None
    cpus: int | None
    nice: int | None
    fanout: int | None
    max_fail: int | None
    rlimits: Mapping[int, int]
    collect: str | Sequence[str]
    collect_to: str | os.PathLike[str]
    name: str
    spool: bool
    on_disconnect: Literal["end", "detach"]


def command_of(args: Args, *, shell: bool = False) -> tuple[bytes, ...]:
    """The argument vector.  Raises: UsageError if there is none."""
    if isinstance(args, str | bytes | os.PathLike):
        command: tuple[bytes, ...] = (os.fsencode(args),)
    else:
        command = tuple(os.fsencode(word) for word in args)
    if not command or not command[0]:
        raise UsageError("a job has at least a program's name")
    return (b"/bin/sh", b"-c", *command) if shell else command


def asked(
    nodes: str, args: Args, *, stdin: bool, timeout: float | None, options: JobOptions, action: Action = "run"
) -> tuple[Request, Bundle | None, tuple[str, ...]]:
    """The request, the bundle that goes with it, and the command as text.

    Raises: TypeError, UsageError, SpecError; BundleError if the program cannot be packed.
    """
    check_keywords(options, JobOptions.__annotations__)
    command = command_of(args, shell=options.get("shell", False))
    chosen_cwd = options.get("cwd")
    collect = options.get("collect", ())
    cwd = "" if chosen_cwd is None else os.fspath(chosen_cwd)
    if not os.path.isabs(cwd):
        cwd = os.path.join(working_directory(), cwd)
    cwd = os.path.normpath(cwd)
    environ = os.environ if (env := options.get("env")) is None else env
    check_variables(environ)
    if venv := os.fspath(options.get("venv", "")):
        environ = environment_at(venv, cwd).of(environ)
    bundle = options.get("bundle")
    if bundle is None and not options.get("local_bin", False):
        bundle = pack_program(
            [os.fsdecode(word) for word in command], files=options.get("files", ()), root=options.get("root", "/"),
            library_path=options.get("library_path", ()), cwd=cwd, environ=os.environ,
            words=options.get("words", True), with_package=options.get("with_package", False),
            nodes_programs=options.get("shell", False), traced=options.get("traced", True), venv=venv,
        )  # fmt: skip
    request = program_request(
        nodes,
        command,
        bundle=bundle,
        env={os.fsencode(name): os.fsencode(value) for name, value in environ.items()},
        cwd=os.fsencode(cwd if (node_cwd := options.get("node_cwd")) is None else os.path.abspath(os.fspath(node_cwd))),
        own_cwd=options.get("node_cwd") is not None,
        exclude=options.get("exclude", ""),
        umask=options.get("umask"),
        stdin=stdin,
        bin_root=os.fsencode(options.get("bin_root", "")),
        timeout_s=time_limit(timeout),
        max_procs=options.get("max_procs"),
        mem_bytes=options.get("mem_bytes"),
        cpus=options.get("cpus"),
        nice=options.get("nice"),
        fanout=options.get("fanout"),
        max_fail=options.get("max_fail"),
        rlimits=options.get("rlimits", {}),
        collect=[collect] if isinstance(collect, str) else collect,
        action=action,
    )
    return checked_request(request), bundle, tuple(os.fsdecode(word) for word in command)


def brought_back(
    request: Request, to: str | os.PathLike[str] | None, keep: Keep | None, naming: Naming
) -> BroughtBack | None:
    """The receiver of the files that a job brings back; None if it brings none.

    Raises: UsageError if no program would be there to take them; GprocError if there is no directory for them.
    """
    if bool(request.collect) != (to is not None):
        raise UsageError("collect says which files come back, collect_to into which directory: say both, or neither")
    if to is None:
        return None
    if keep is not None and (keep.detach or keep.survive):
        raise UsageError("collect brings files to this program, and a detached job may outlive it: leave one out")
    return BroughtBack(os.fspath(to), request.collect, naming)


def keep_of(options: JobOptions, *, detach: bool = False) -> Keep | None:
    """How the job is bound to this program; None: as usual.  Raises: UsageError."""
    on_disconnect = options.get("on_disconnect", "end")
    if on_disconnect not in ("end", "detach"):
        raise UsageError(f"on_disconnect is {on_disconnect!r}: 'end' or 'detach' is wanted")
    if not isinstance(name := options.get("name", ""), str):
        raise TypeError(f"name must be str, not {type(name).__name__}")
    keep = Keep(name, detach, on_disconnect == "detach", options.get("spool", False))
    return None if keep == Keep() else keep
