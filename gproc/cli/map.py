"""`gproc map NODES COMMAND < LIST`: runs a program once for each line of a list, on whichever node is free."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from gproc.bundle.surroundings import working_directory
from gproc.cli.exec import check_sending, environment, packed, readable_stdin
from gproc.cli.foreground import submitted
from gproc.cli.mapping import MappingForeground, TaskSink
from gproc.cli.naming import meant_by
from gproc.cli.program_options import MapOptions
from gproc.cli.stderr import complain
from gproc.cli.task_list import ListedLines, ListedWords, TaskList, left_out
from gproc.cli.task_output import JobLog, Printing
from gproc.cli.task_progress import task_progress
from gproc.cli.trace import Trace
from gproc.cli.writing import Writing
from gproc.client.driver import PollDriver
from gproc.client.requests import program_request
from gproc.errors import EXIT_SIGNAL_BASE, GprocError, UsageError
from gproc.packager import Bundle
from gproc.request.spec import Request
from gproc.request.template import Template, completed, has_strings, misplaced_in
from gproc.tasks.feed import TaskFeed
from gproc.tasks.tallies import Tally
from gproc.wire.job_messages import SHOWN_HOSTS_MAX, Keep
from gproc.wire.tasks import Setup


def run(options: MapOptions) -> int:
    words, entries = list_of(options)
    check_output(options)
    check_detached(options)
    meant = meant_by(options.socket, options.nodes, options.exclude)
    if options.require and meant.naming.unknown:
        raise GprocError(f"nothing runs, because not all nodes are there: not connected: {meant.naming.missing('')}")
    check_sending(options)
    first = first_of(entries)
    if first is None:
        complain(["the list is empty: nothing was run" + (f"; {left_out(entries)}" if entries.empty else "")])
        return 0
    trace = Trace(options.debug)
    command = completed([os.fsencode(word) for word in words], shell=options.shell)
    if options.shell and (found := misplaced_in(command[0])):
        raise UsageError(
            f"{os.fsdecode(found.part)} stands {found.where}: with --shell its value is quoted already, and there the "
            "shell would run what is in it: let it stand alone"
        )
    argv = (b"/bin/sh", b"-c", *command) if options.shell else command
    if has_strings(argv[0]) and not options.local_bin:
        raise UsageError(
            f"{os.fsdecode(argv[0])}: a program whose name comes from the list cannot be sent: add -localbin, if the "
            "nodes have it, or --shell"
        )
    cwd = working_directory()
    shown_words = [os.fsdecode(word) for word in argv]
    bundle = None if options.local_bin else packed(options, shown_words, cwd, trace)
    template = Template(argv, quoted=options.shell)
    request = request_of(options, argv, bundle, cwd, meant.nodes, meant.exclude)
    if options.detach:
        from gproc.cli.map_detached import begin_detached

        return begin_detached(options, request, bundle, template, entries, first, trace, meant.naming)
    if options.on_disconnect == "detach":
        from gproc.cli.map_surviving import run_surviving

        return run_surviving(options, request, bundle, template, entries, first, trace, meant.naming)
    setup = Setup(options.per_node, options.task_timeout_s, options.shell)
    feed, tally = TaskFeed(setup, template, max_fail=options.max_fail), Tally(entries.noun)
    log = JobLog(options.joblog, template) if options.joblog else None
    progress = task_progress(lambda: sink.counts)
    writing = Writing(progress)
    printing = Printing(
        writing, grouped=not options.ungroup, in_order=options.keep_order, tagged=options.tag
    )
    sink = TaskSink(feed, tally, printing, log, in_order=options.keep_order)
    driver = PollDriver(options.socket)
    try:
        keep = Keep(options.name, hosts=meant.naming.for_records[:SHOWN_HOSTS_MAX])
        job = submitted(driver, request, bundle, trace, None if keep == Keep() else keep, meant.naming)
        foreground = MappingForeground(driver, job, sink, progress, trace, feed, entries, first)
        writing.watch(foreground)
        foreground.run()
    finally:
        driver.close()
    if foreground.reader_is_gone:
        return EXIT_SIGNAL_BASE + signal.SIGPIPE
    status, lines = tally.conclude(feed, job.places, job.missing, job.naming)
    if status and bundle is None:
        from gproc.cli.lacking import misread

        lines += misread(os.fsdecode(request.argv[0]), status)
    if entries.empty:
        lines.append(left_out(entries))
    if job.leaves_files:
        lines.append(
            "files that tasks wrote in their working directories are gone, because these are private: --cwd DIR starts "
            "them in a directory of the node"
        )
    return foreground.conclude(foreground.signal_status or status, lines)


def check_output(options: MapOptions) -> None:
    """Raises: UsageError if the switches about output contradict each other."""
    if options.ungroup and (options.tag or options.keep_order):
        other = "--tag" if options.tag else "--keep-order"
        raise UsageError(f"--ungroup prints what comes at once, so {other} does not go with it")


def check_detached(options: MapOptions) -> None:
    """Raises: UsageError for switches that say how output is shown, if none is."""
    shown = {
        "--keep-order": options.keep_order, "--tag": options.tag, "--ungroup": options.ungroup,
        "--joblog": bool(options.joblog),
    }  # fmt: skip
    asked = [name for name, is_asked in shown.items() if is_asked]
    if options.detach and asked:
        later = "" if asked[0] == "--ungroup" else f" {asked[0]}"
        raise UsageError(
            f"--detach shows no output, so {asked[0]} does not go with it: gproc logs{later} shows it later"
        )


def list_of(options: MapOptions) -> tuple[Sequence[str], TaskList]:
    """The command and the list.  Raises: UsageError, GprocError."""
    words = options.command
    marks = [word for word in words if word.startswith(":::")]
    if marks and (marks != [":::"] or options.arg_file):
        raise UsageError("a list is the words behind one `:::`, or a file (-a), or standard input")
    if marks:
        at = words.index(":::")
        command, listed = words[:at], words[at + 1 :]
        if options.null:
            raise UsageError("-0 says how the entries of a file end, and words behind `:::` are none")
        entries: TaskList = ListedWords(listed)
    else:
        command, entries = words, opened_list(options)
    if not command:
        raise UsageError("COMMAND is missing: it runs once for each line; `sh -c {}` runs the lines themselves")
    return command, entries


def opened_list(options: MapOptions) -> TaskList:
    """Raises: UsageError if there is none; GprocError if it cannot be read."""
    if (file := options.arg_file) and file != "-":  # as of xargs and GNU parallel, and as --joblog has it
        try:
            return ListedLines(os.open(file, os.O_RDONLY | os.O_CLOEXEC), file, null=options.null)
        except OSError as error:
            raise GprocError(f"{file}: {error.strerror}") from error
    if readable_stdin() is None:
        raise UsageError("the list is missing: give it as standard input, by -a FILE, or as words behind `:::`")
    return ListedLines(0, "the list", null=options.null)


def first_of(entries: TaskList) -> tuple[int, bytes] | None:
    """Wait for the first entry.  None if there is none.  Raises: GprocError."""
    while (entry := entries.take()) is None and not entries.ended:
        entries.read()
    return entry


def request_of(
    options: MapOptions, argv: Sequence[bytes], bundle: Bundle | None, cwd: str, nodes: str, exclude: str
) -> Request:
    """Raises: SpecError, UsageError."""
    return program_request(
        nodes,
        argv,
        action="map",
        bundle=bundle,
        env=environment(options),
        cwd=os.fsencode(os.path.normpath(os.path.join(cwd, options.cwd)) if options.cwd else cwd),
        own_cwd=bool(options.cwd),
        exclude=exclude,
        stdin=True,
        bin_root=os.fsencode(options.bin_root),
        max_procs=options.max_procs,
        mem_bytes=options.mem_bytes,
        cpus=options.cpus,
        nice=options.nice,
        require_all=options.require == "all",
    )
