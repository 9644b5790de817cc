"""`gproc e NODES COMMAND...`: packs the program, submits it to the master, and shows its output and status."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from gproc.bundle.surroundings import working_directory
from gproc.cli.foreground import Foreground, submitted
from gproc.cli.naming import meant_by
from gproc.cli.options import ExecOptions
from gproc.cli.program_options import ProgramOptions
from gproc.cli.progress import progress_for
from gproc.cli.reading_line import ReadingLine
from gproc.cli.showing import AsItComes, Gathered, IntoFiles, Showing, Sorted
from gproc.cli.stderr import complain
from gproc.cli.style import has_colour, is_terminal
from gproc.cli.trace import Trace, bundle_text
from gproc.cli.writing import Writing
from gproc.client.driver import PollDriver, check_master
from gproc.client.requests import program_request
from gproc.client.session_job import SessionJob
from gproc.client.summary import summarise
from gproc.errors import EXIT_GPROC, EXIT_SIGNAL_BASE, GprocError, ProgramNotFound, UsageError
from gproc.naming.naming import Naming
from gproc.packager import Bundle, PackRequest, pack
from gproc.request.spec import GLOBS_MAX, Request, TerminalSize
from gproc.shown import count_text
from gproc.wire.job_messages import SHOWN_HOSTS_MAX, Keep

if TYPE_CHECKING:
    from gproc.client.brought import BroughtBack
    from gproc.client.terminal import LentTerminal


NO_TERMINAL: Final = TerminalSize(24, 80)
"""What a program's terminal is like if there is none here."""


class Manner:
    """The command's own streams and terminal: `gproc-rsh` has others."""

    def stdin(self, options: ExecOptions) -> int | None:
        """The descriptor whose bytes the programs get; None: they get none."""
        if options.detach or (options.no_stdin and not options.tty):
            return None
        return 0 if options.tty else readable_stdin()

    def terminal(self, options: ExecOptions) -> tuple[TerminalSize, LentTerminal | None]:
        """The program's terminal at its begin, and ours, which it uses.  Raises: UsageError if it cannot use ours."""
        from gproc.client.terminal import LentTerminal, terminal_size_of

        check_terminal(options)
        return terminal_size_of(0), LentTerminal(0)

    def conclude(self, foreground: Foreground, status: int, lines: list[str]) -> int:
        """Say how the job ended.  Returns the exit status."""
        return foreground.conclude(status, lines)


def run(options: ExecOptions, manner: Manner | None = None) -> int:
    manner = manner or Manner()
    if options.retry_failed:
        from gproc.cli.retrying import retried

        options = retried(options)
    meant = meant_by(options.socket, options.nodes, options.exclude)
    if options.require and meant.naming.unknown:
        lacking = meant.naming.missing("")
        raise GprocError(f"nothing runs, because not all nodes are there: not connected: {lacking}")
    check_showing(options)
    check_collecting(options)
    trace = Trace(options.debug)
    terminal: TerminalSize | None = None
    lent: LentTerminal | None = None
    if options.tty and options.detach:
        terminal = NO_TERMINAL  # until a client attaches
    elif options.tty:
        terminal, lent = manner.terminal(options)
    cwd = working_directory()
    command = shell_command(options.command) if options.shell else options.command
    check_sending(options)
    stdin = manner.stdin(options)
    bundle = None if options.local_bin else packed(options, command, cwd, trace, stdin, quiet=options.json_progress)
    request = program_request(
        meant.nodes,
        [os.fsencode(word) for word in command],
        bundle=bundle,
        env=environment(options),
        cwd=os.fsencode(os.path.normpath(os.path.join(cwd, options.cwd)) if options.cwd else cwd),
        own_cwd=bool(options.cwd),
        exclude=meant.exclude,
        stdin=stdin is not None or terminal is not None,
        bin_root=os.fsencode(options.bin_root),
        terminal=terminal,
        timeout_s=options.timeout_s,
        max_procs=options.max_procs,
        mem_bytes=options.mem_bytes,
        cpus=options.cpus,
        nice=options.nice,
        require_all=options.require == "all",
        fanout=options.fanout,
        max_fail=options.max_fail,
        collect=options.collect,
    )
    progress = progress_for(json_lines=options.json_progress, quiet=options.tty)
    writing = Writing(progress)
    brought = brought_back(request, meant.naming)
    sink = sink_for(options, writing)
    driver = PollDriver(options.socket)
    try:
        survives = options.on_disconnect == "detach"
        job = submitted(driver, request, bundle, trace, keep_of(options, meant.naming), meant.naming)
        foreground = Foreground(
            driver, job, sink, progress, trace, stdin, sink.ended, lent, survives=survives, brought=brought
        )
        writing.watch(foreground)
        if lent is not None:
            foreground.watch_keys(0, discards=False)
        elif terminal is not None:
            foreground.keep_input_open()
        with lent or nullcontext():
            foreground.run()
    finally:
        driver.close()
    if foreground.reader_is_gone:
        return EXIT_SIGNAL_BASE + signal.SIGPIPE  # and silence, as of `yes | head`
    if foreground.departed:
        return left(foreground, detached=options.detach, told=unread_input(options))
    status, lines = summarise(job.places, job.outcomes, job.missing, naming=job.naming)
    if brought is not None:
        failed, told = brought.conclude(job.outcomes)
        status, lines = max(status, failed), told + lines
    lines += left_behind(job)
    if status and bundle is not None and foreground.lost is None:
        from gproc.cli.lacking import hints

        lines += hints(foreground.errors, bundle, cwd)
    if status and request.bundle is None:
        from gproc.cli.lacking import hidden, misread

        program = os.fsdecode(request.argv[0])
        lines += misread(program, status)
        lines += [] if options.cwd else hidden(program, cwd, job.outcomes.values())
    return manner.conclude(foreground, status, lines)


def check_collecting(options: ExecOptions) -> None:
    """Raises: UsageError if no command would be there to take the files."""
    if not options.collect:
        return
    if len(options.collect) > GLOBS_MAX:
        raise UsageError(f"--collect is given {len(options.collect)} times; {GLOBS_MAX} are possible")
    for switch, is_asked in (("--detach", options.detach), ("--on-disconnect=detach", options.on_disconnect != "end")):
        if is_asked:
            raise UsageError(
                f"--collect brings files to this command, and with {switch} the job may outlive it: leave one of them "
                "out; gproc get brings files of a directory that stays (--cwd)"
            )


def brought_back(request: Request, naming: Naming) -> BroughtBack | None:
    """Takes the files that the job brings back, each node's below this directory."""
    if not request.collect:
        return None
    from gproc.client.brought import BroughtBack

    return BroughtBack(".", request.collect, naming)


def check_sending(options: ProgramOptions) -> None:
    """Raises: UsageError if the switches about what is sent contradict each other."""
    given = {
        "--trace finds what to send": options.trace, "--venv goes along with the program": options.venv,
        "--image takes the program from an image": options.image,
        "-r takes the program from another root": options.root != "/",
        "-f sends more files": options.files, "-L finds libraries to send": options.library_path,
        "--with-package sends more files": options.with_package,
    }  # fmt: skip
    if options.local_bin and (what := next((what for what, is_given in given.items() if is_given), "")):
        raise UsageError(f"{what}, and -localbin sends nothing: leave one of them out")


def left_behind(job: SessionJob) -> list[str]:
    """What a person is told of files that a job wrote and that are gone with it."""
    if not job.leaves_files:
        return []
    nodes = job.naming.fold(job.places[rank] for rank in sorted(job.leaves_files))
    return [
        f"{nodes}: files that the job wrote in its working directory are gone, because that is private: "
        "--collect GLOB brings them back, --cwd DIR starts in a directory of the node"
    ]


def check_showing(options: ExecOptions) -> None:
    """Raises: UsageError if the switches about output contradict each other."""
    gathers = "-B" if options.gather_all else "-b"
    ways = {
        gathers: options.gather or options.gather_all, "--sort": options.sort, "--outdir": bool(options.outdir),
        "--json": options.json,
    }  # fmt: skip
    asked = [name for name, is_asked in ways.items() if is_asked]
    if options.label and not options.sort:
        asked.append("--label")
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} do not go together: each shows the output in its own way")
    if options.detach and (asked or options.label):
        shown = asked[0] if asked else "--label"
        raise UsageError(f"--detach shows no output, so {shown} does not go with it: gproc logs shows it later")
    for name, is_asked in (("--live", options.live), ("--diff", options.diff)):
        if is_asked and not ways[gathers]:
            raise UsageError(f"{name} says how groups of nodes are shown: add -b")
    if options.live and options.diff:
        raise UsageError("--live and --diff do not go together: the largest group is known only at the end")


def sink_for(options: ExecOptions, writing: Writing) -> Showing:
    """Raises: GprocError if there is no directory for --outdir."""
    coloured = has_colour(sys.stdout)
    if options.gather or options.gather_all:
        return Gathered(
            writing, coloured=coloured, errors_too=options.gather_all, live=options.live, diff=options.diff
        )
    if options.sort:
        return Sorted(writing, coloured=coloured, label=options.label)
    if options.json:
        from gproc.cli.json_events import JsonEvents  # json costs 3 ms, which most commands can do without

        return JsonEvents(writing)
    if options.outdir:
        try:
            return IntoFiles(writing, options.outdir)
        except FileExistsError as error:
            raise GprocError(f"--outdir {options.outdir}: this is no directory") from error
        except OSError as error:
            raise GprocError(f"--outdir {options.outdir}: {error.strerror}") from error
    equal = None
    if is_terminal(sys.stdout) and not options.label:
        from gproc.cli.hints import EqualOutput

        equal = EqualOutput(lambda text: complain([text]))
    return AsItComes(writing, label=options.label, coloured=coloured, equal=equal)


def keep_of(options: ExecOptions, naming: Naming) -> Keep | None:
    """How the job is bound to this command; None: as usual, so that an older master can be asked too."""
    survives = options.on_disconnect == "detach"
    hosts = naming.for_records[:SHOWN_HOSTS_MAX]
    keep = Keep(options.name, options.detach, survives, options.spool, hosts)
    return None if keep == Keep() else keep


def left(foreground: Foreground, *, detached: bool, told: Sequence[str] = ()) -> int:
    """The job goes on without us.  told: what else a person is told."""
    job = foreground.job
    if detached and foreground.problem is None:
        print(job.number)
    lines = [*told, f"{job.missing}: not connected"] if job.missing else [*told]
    if not detached and foreground.goes_on:
        lines.append(f"left job {job.number}, which goes on: gproc attach {job.number}")
    return foreground.conclude(EXIT_GPROC if job.missing else 0, lines)


def packed(
    options: ProgramOptions, command: Sequence[str], cwd: str, trace: Trace, standard_input: int | None = None, *,
    quiet: bool = False,
) -> Bundle:  # fmt: skip
    """standard_input: the descriptor that the command reads there, or None.

    Raises: BundleError and its kinds; NoMaster and the like, before much is read for a master that is not there."""
    if options.files or options.venv or options.image or options.trace or options.with_package:
        check_master(options.socket)
    program = command[0]
    request = PackRequest(
        program=program,
        command=tuple(command),
        cwd=cwd,
        environ=os.environ,
        extra=options.files,
        root=options.root,
        image=options.image,
        library_path=options.library_path,
        words=not options.no_words,
        around=not options.no_words,
        standard_input=standard_input,
        nodes_programs=options.shell,
        with_package=options.with_package,
        traced=options.trace is not False,
        venv=options.venv,
    )
    try:
        if options.trace:
            from gproc.cli.tracing import run_here

            with open(os.devnull, "r+b", buffering=0) as nothing:
                run_here(request, environment(options), [nothing.fileno()] * 3, trace)
        trace.step(f"packs {program}")
        with ReadingLine(quiet=quiet):
            bundle = pack(request, explain=trace.has_details)
    except ProgramNotFound as error:
        from gproc.cli.lacking import SHELL_HINT, looks_like_a_shell_line

        if not looks_like_a_shell_line(program):
            raise
        raise ProgramNotFound(f"{error}; {SHELL_HINT}") from error
    if trace.is_on:
        tell_of(bundle, trace)
    return bundle


def tell_of(bundle: Bundle, trace: Trace) -> None:
    """Say what was packed.  The reasons are known only if the cache was not used."""
    for path, why in bundle.reasons.items():
        trace.detail(f"{os.fsdecode(path)}: {why}")
    manifest = bundle.manifest
    count = sum(1 for _ in manifest.files())
    what = bundle_text(bundle.digest, manifest.size_bytes())
    trace.step(f"packed {os.fsdecode(manifest.program)}: {count_text(count, 'file')}, {what}")


def shell_command(words: Sequence[str]) -> tuple[str, ...]:
    """The command that runs these words in a shell on each node, joined by blanks, as ssh(1) and pdsh join them."""
    return ("/bin/sh", "-c", " ".join(words))


def check_terminal(options: ExecOptions) -> None:
    """Raises: UsageError if the program cannot use our terminal."""
    shown_otherwise = options.label or options.gather or options.gather_all or options.sort or options.json
    if options.no_stdin or shown_otherwise or options.outdir:
        others = "--no-stdin, --label, -b, --sort, --json or --outdir"
        raise UsageError(f"--tty shows one node's terminal as it is: it does not go with {others}")
    if not os.isatty(0):
        raise UsageError("--tty lends your terminal to the program, but standard input is no terminal: leave --tty out")


def environment(options: ProgramOptions) -> dict[bytes, bytes]:
    """The program's environment: the caller's, or with --clean-env an empty one, then that of --venv and of --env."""
    env: dict[bytes, bytes] = {} if options.clean_env else dict(os.environb)
    if options.venv:
        from gproc.bundle.venv import environment_at

        active = environment_at(options.venv, working_directory())
        env = {
            os.fsencode(name): os.fsencode(value)
            for name, value in active.of({os.fsdecode(name): os.fsdecode(env[name]) for name in env}).items()
        }
    for item in options.env:
        name, equals, value = os.fsencode(item).partition(b"=")
        if equals:
            env[name] = value
        elif name in os.environb:
            env[name] = os.environb[name]
    return env


def unread_input(options: ExecOptions) -> list[str]:
    """What a person is told of a standard input that --detach leaves unread, if something is in it.

    It is no error: in `while read node; do gproc e -d $node ...; done < list` the rest belongs to the loop.
    """
    if not options.detach or options.no_stdin or not has_input():
        return []
    return [
        "the standard input is not read, because the job goes on without this command: the program's is empty; "
        "--on-disconnect=detach reads it, -f sends a file, and with -n this is not said"
    ]


def has_input() -> bool:
    """Whether something can be read from standard input now: a file that is not at its end, or bytes in a pipe."""
    try:
        status = os.fstat(0)
        if stat.S_ISREG(status.st_mode):
            return os.lseek(0, 0, os.SEEK_CUR) < status.st_size
        if not stat.S_ISFIFO(status.st_mode) and not stat.S_ISSOCK(status.st_mode):
            return False
        from fcntl import ioctl
        from termios import FIONREAD

        return any(ioctl(0, FIONREAD, bytes(4)))
    except OSError:
        return False


def readable_stdin() -> int | None:
    """Standard input, if it is open and no terminal."""
    try:
        return None if os.isatty(0) else 0 if os.fstat(0) else None
    except OSError:
        return None
