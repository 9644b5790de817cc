"""`gproc e NODES COMMAND...`: pack the program, hand it to the master, bring its output and its status back."""

from __future__ import annotations

import os
import resource
import signal
from contextlib import AbstractContextManager, nullcontext

from gproc.cli.options import ExecOptions
from gproc.cli.progress import progress_for
from gproc.cli.stderr import complain
from gproc.client.job import Connection, JobClient
from gproc.client.summary import summarise
from gproc.errors import EXIT_GPROC, EXIT_SIGNAL_BASE, GprocError, UsageError
from gproc.nodespec import NodeSpec
from gproc.packager import Bundle, PackRequest, pack
from gproc.request.limits import Limits
from gproc.wire.messages import Submit, TerminalSize


def run(options: ExecOptions) -> int:
    NodeSpec.parse(options.nodes)
    if options.exclude:
        NodeSpec.parse_exclusion(options.exclude)
    terminal_size: TerminalSize | None = None
    lending: AbstractContextManager[None] = nullcontext()
    if options.tty:
        from gproc.client.terminal import raw, terminal_size_of

        check_terminal(options)
        terminal_size, lending = terminal_size_of(0), raw(0)
    cwd = working_directory()
    bundle = None if options.local_bin else pack_program(options, cwd)
    stdin = 0 if options.tty else None if options.no_stdin else readable_stdin()
    submit = Submit(
        nodes=options.nodes,
        exclude=options.exclude,
        argv=tuple(os.fsencode(word) for word in options.command),
        env=environment(options),
        cwd=os.fsencode(cwd),
        umask=current_umask(),
        bundle=b"" if bundle is None else bundle.digest,
        stdin=stdin is not None,
        timeout_s=options.timeout_s,
        terminal_size=terminal_size,
        limits=Limits(options.max_procs, options.mem_bytes, options.cpus, options.nice, soft_limits()),
        bundle_bytes=0 if bundle is None else bundle.manifest.size_bytes(),
    )
    progress = progress_for(json_lines=options.json_progress)
    connection = Connection(options.socket)
    client = JobClient(connection, submit, bundle, label=options.label, stdin=stdin, progress=progress)
    lost: GprocError | None = None
    try:
        with lending:
            client.run()
    except GprocError as error:
        if not client.paths:
            raise
        lost = error
    finally:
        connection.close()
    if client.reader_is_gone:
        return EXIT_SIGNAL_BASE + signal.SIGPIPE  # and silence, as of `yes | head`
    status, lines = summarise(client.paths, client.outcomes, client.missing)
    if client.problem is not None:
        lines.insert(0, client.problem)
        status = max(status, EXIT_GPROC)
    if lost is not None:
        lines.insert(0, str(lost))
    complain(lines)
    return status


def pack_program(options: ExecOptions, cwd: str) -> Bundle:
    return pack(
        PackRequest(
            program=options.command[0],
            extra=options.files,
            root=options.root,
            library_path=options.library_path,
            cwd=cwd,
            environ=os.environ,
        )
    )


def check_terminal(options: ExecOptions) -> None:
    """Raises: UsageError where no terminal can be lent to the program."""
    if options.no_stdin or options.label:
        raise UsageError("--tty shows one node's terminal as it is: it does not go with --no-stdin or --label")
    if not os.isatty(0):
        raise UsageError("--tty lends your terminal to the program, and standard input is none: leave --tty out")


def working_directory() -> str:
    try:
        return os.getcwd()
    except OSError as error:
        raise GprocError(f"the working directory is gone ({error.strerror}): change to one that exists") from error


def environment(options: ExecOptions) -> tuple[bytes, ...]:
    """The program's environment: the caller's, or none of it, and what --env adds."""
    env: dict[bytes, bytes] = {} if options.clean_env else dict(os.environb)
    for item in options.env:
        name, equals, value = os.fsencode(item).partition(b"=")
        if equals:
            env[name] = value
        elif name in os.environb:
            env[name] = os.environb[name]
    return tuple(name + b"=" + value for name, value in env.items())


def readable_stdin() -> int | None:
    """Standard input, where it is open and no terminal."""
    try:
        return None if os.isatty(0) else 0 if os.fstat(0) else None
    except OSError:
        return None


def soft_limits() -> tuple[tuple[int, int], ...]:
    """Those limits of ours that a program at home would have; RLIMIT_NPROC is about this machine's processes."""
    kinds = (
        resource.RLIMIT_AS, resource.RLIMIT_CORE, resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE,
        resource.RLIMIT_MEMLOCK, resource.RLIMIT_NOFILE, resource.RLIMIT_STACK,
    )  # fmt: skip
    return tuple((kind, resource.getrlimit(kind)[0]) for kind in kinds)


def current_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
