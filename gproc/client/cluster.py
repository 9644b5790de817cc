"""The library: a cluster, and jobs on it, with the names of `subprocess`.  `import gproc` offers them.

Nothing here installs a signal handler, prints, starts a thread or ends the process.  Any thread may use it, and many
jobs share one connection.  A job makes progress while some thread is inside a call that waits: an iteration, `wait`,
`run`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Literal, TypeVar, Unpack, overload

from gproc.bundle.surroundings import working_directory
from gproc.client.brought import BroughtBack
from gproc.client.codec import codec_of, input_bytes
from gproc.client.complaints import Complaints
from gproc.client.copying import CopyTries, Remote, copy_request, note_torn
from gproc.client.engine import Engine
from gproc.client.events import Output
from gproc.client.finding import default_socket
from gproc.client.job import Job
from gproc.client.keywords import FilePath, FilePaths, paths_of
from gproc.client.known_jobs import KnownJobs
from gproc.client.mapped import TaskCluster
from gproc.client.options import DEVNULL, PIPE, Args, JobOptions, asked, brought_back, keep_of
from gproc.client.receiving import Collected
from gproc.client.requests import pack_program
from gproc.client.resolving import resolve, run_questions
from gproc.client.results import CompletedJob, checked, decoded
from gproc.client.session import Answered, ClientSession, JobEvent, JobRefused, Refusal, SessionEvent, TreeAnswer
from gproc.client.session_job import SessionJob
from gproc.client.sinks import Sink
from gproc.client.tree import CopyResult, TreeInfo, tree_info
from gproc.errors import GprocError
from gproc.naming.naming import PLACES, MeantNodes, Naming
from gproc.packager import Bundle
from gproc.request.spec import Request
from gproc.wire.job_messages import JobAnswer, Keep
from gproc.wire.task_messages import TaskListing

E = TypeVar("E", bound=BaseException)


class Cluster(TaskCluster, KnownJobs):
    """A connection to a master: `gproc.connect()` makes one.

    >>> with gproc.connect() as cluster:
    ...     done = cluster.run("./.", ["uname", "-r"], check=True)
    """

    def __init__(self, socket: FilePath | None = None) -> None:
        """socket: as of `connect`.

        Raises: NoMaster if none listens there; TrustError if the master is neither root's nor this user's.
        """
        self._jobs: dict[SessionJob, Job] = {}
        self._trees: dict[int, TreeInfo] = {}
        self._answers: dict[int, Answered | Refusal] = {}
        self._engine = Engine(default_socket() if socket is None else os.fspath(socket), self._handle)

    @overload
    def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: Literal[False] = False, encoding: None = None, errors: None = None,
        **options: Unpack[JobOptions],
    ) -> CompletedJob[bytes]: ...  # fmt: skip
    @overload
    def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: Literal[True], encoding: str | None = None, errors: str | None = None,
        **options: Unpack[JobOptions],
    ) -> CompletedJob[str]: ...  # fmt: skip
    @overload
    def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: bool = False, encoding: str, errors: str | None = None,
        **options: Unpack[JobOptions],
    ) -> CompletedJob[str]: ...  # fmt: skip
    @overload
    def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: bool = False, encoding: None = None, errors: str,
        **options: Unpack[JobOptions],
    ) -> CompletedJob[str]: ...  # fmt: skip

    def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: bool = False, encoding: str | None = None, errors: str | None = None,
        **options: Unpack[JobOptions],
    ) -> CompletedJob[bytes] | CompletedJob[str]:  # fmt: skip
        """Run a program on nodes and wait for it, as `subprocess.run` does; its output is always captured.

        nodes: a node specification.  args: the command: a sequence, or one text (a program's name, or with `shell`
        a line for /bin/sh).  input: goes to every node's program; without it they have an empty standard input.
        timeout: seconds after which the job is ended everywhere.  text: decode output and encode input, as also
        with `encoding` or `errors`.

        Raises: TimeoutExpired; JobFailed with `check`, if anything went wrong; JobRejected, BundleError, SpecError,
        LinkLost.

            >>> cluster.run("=1/.", ["sort"], input=b"b\\na\\n", timeout=30, check=True).stdout["1/1"]
            b'a\\nb\\n'
        """
        codec = codec_of(text=text, encoding=encoding, errors=errors)
        data = input_bytes(input, codec)
        job = self._begin(nodes, args, stdin=data is not None, timeout=timeout, options=options, keep=keep_of(options))
        try:
            result = job.communicate(data)
        except BaseException:
            self._abandon(job)
            raise
        return checked(result if codec is None else decoded(result, codec), timeout, check)

    def popen(
        self, nodes: str, args: Args, *, stdin: int | None = None, timeout: float | None = None, detach: bool = False,
        **options: Unpack[JobOptions],
    ) -> Job:  # fmt: skip
        """Begin a job, as `subprocess.Popen` begins a process.  Its output comes as events.

        stdin: gproc.PIPE if you will write to `job.stdin`; None or gproc.DEVNULL for an empty standard input.
        timeout: seconds after which the job is ended everywhere.
        detach: return when the job can go on without this program.  The result has the job's number, and no more
        events; `logs` and `attach` have its output.
        Raises: JobRejected if the master does not take it, BundleError, SpecError, LinkLost; GprocError if a job that
        was to be detached had to be ended instead.

            >>> with cluster.popen("./.", ["./solver"]) as job:
            ...     for event in job:
            ...         if isinstance(event, gproc.Exited):
            ...             print(event.node, event.outcome.kind)
        """
        if stdin not in (None, PIPE, DEVNULL):
            raise ValueError("stdin is gproc.PIPE, gproc.DEVNULL or None")
        keep = keep_of(options, detach=detach)
        job = self._begin(nodes, args, stdin=stdin == PIPE, timeout=timeout, options=options, keep=keep)
        job._begun()
        if detach:
            self._engine.wait_until(lambda: job._job.left)
            job._check_departure()
        return job

    def cp(
        self, sources: FilePaths, destination: str, *, exclude: str = "", timeout: float | None = None,
        check: bool = True,
    ) -> CopyResult:  # fmt: skip
        """Copy files and directories to nodes, for good, as `gproc cp` does.  destination: "NODES:/path".

        Raises: CopyFailed with `check`, if not everything was copied; JobRejected, UsageError, SpecError, LinkLost.

            >>> cluster.cp(["solver.conf", "data/"], "./.:/opt/solver/")
        """
        names = paths_of(sources)
        remote, meant = self._remote(destination, exclude)
        tries = CopyTries(names)
        while (bundle := tries.pack()) is not None:
            complaints = Complaints(meant.naming)
            request = copy_request(remote, "place", exclude=meant.exclude, timeout_s=timeout, bundle=bundle)
            job = self._carry_out(request, bundle, complaints, meant.naming)
            if not tries.again(bundle, self._engine.driver.chunks.problems.get(bundle.digest)):
                return tries.result(job, complaints).checked(check)
        return tries.nothing().checked(check)

    def get(
        self, source: str, directory: FilePath, *, exclude: str = "", timeout: float | None = None, check: bool = True
    ) -> CopyResult:
        """Copy files and directories from nodes, as `gproc get` does: those of node 1/7 into `directory`/1.7.

        source: "NODES:/path".  timeout: in seconds.  Raises: as `cp`.

            >>> cluster.get("1-80:/var/log/solver", "logs")  # logs/1/solver, logs/2/solver, ...
        """
        remote, meant = self._remote(source, exclude)
        collected = Collected(os.fspath(directory), remote.path, meant.naming)
        job = self._carry_out(
            copy_request(remote, "collect", exclude=meant.exclude, timeout_s=timeout), None, collected, meant.naming
        )
        note_torn(collected, job.outcomes)
        return CopyResult.of(job, collected.complaints).checked(check)

    def info(self) -> TreeInfo:
        """The tree as the master knows it, with the load of each node that answers within a second.

        Raises: LinkLost.

            >>> [node.node for node in cluster.info().nodes if node.state != "silent"]
            ['1', '1/2']
        """
        serial = self._engine.call(lambda session: session.inquire())
        self._engine.wait_until(lambda: serial in self._trees)
        return self._trees.pop(serial)

    def bundle(
        self, program: FilePath, *, files: FilePaths = (), root: FilePath = "/", library_path: FilePaths = ()
    ) -> Bundle:
        """Pack a program with all that it needs, for `bundle=` of any number of jobs: `gproc.pack`.

        Raises: BundleError and its kinds.

            >>> bundle = cluster.bundle("./solver")
            >>> for seed in range(100):
            ...     cluster.run(".", ["./solver", str(seed)], bundle=bundle, check=True)
        """
        return pack(program, files=files, root=root, library_path=library_path)

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, by `close` or because the master is gone, as far as a call has noticed."""
        return self._engine.closed

    def close(self) -> None:
        """Close the connection: jobs that still run are ended, as if `gproc e` is killed."""
        self._engine.close()
        if self._engine.is_inherited:
            return  # the process that forked this one writes the files of its jobs
        for job in list(self._jobs.values()):
            job._drop_files()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[E] | None, error: E | None, trace: TracebackType | None) -> None:
        self.close()

    def _begin(
        self, nodes: str, args: Args, *, stdin: bool, timeout: float | None, options: JobOptions, keep: Keep | None
    ) -> Job:
        meant = self._meant(nodes, options.get("exclude", ""))
        nodes, options["exclude"] = meant.nodes, meant.exclude
        request, bundle, words = asked(nodes, args, stdin=stdin, timeout=timeout, options=options)
        brought = brought_back(request, options.get("collect_to"), keep, meant.naming)
        return self._submit(request, bundle, words, keep, meant.naming, brought=brought)

    def _meant(self, nodes: str, exclude: str = "", *, job: int | str = "last") -> MeantNodes:
        """What NODES means.  Raises: SpecError, JobRejected, LinkLost; GprocError if there are no such nodes."""
        return run_questions(resolve(nodes, exclude, job=str(job)), self._ask)

    def _remote(self, text: str, exclude: str) -> tuple[Remote, MeantNodes]:
        remote = Remote.parse(text)
        meant = self._meant(remote.nodes, exclude)
        return remote._replace(nodes=meant.nodes), meant

    def _submit(
        self, request: Request, bundle: Bundle | None, words: tuple[str, ...], keep: Keep | None = None,
        naming: Naming = PLACES, listing: TaskListing | None = None, brought: BroughtBack | None = None,
    ) -> Job:
        def submit(_session: object) -> Job:
            known = self._engine.driver.submit(request, bundle, keep, naming, listing)
            job = self._jobs[known] = Job(self._engine, known, words, stdin=request.stdin, brought=brought)
            return job

        return self._engine.call(submit)

    def _carry_out(
        self, request: Request, bundle: Bundle | None, sink: Sink, naming: Naming
    ) -> SessionJob:
        """Run a copy, and give its output to `sink`."""
        try:
            job = self._submit(request, bundle, (), None, naming)
            try:
                job._begun()
                sink.begin(job._job.places)
                for event in job:
                    if isinstance(event, Output):
                        sink.output(event.rank, event.stream, memoryview(event.data))
            except BaseException:
                self._abandon(job)
                raise
        finally:
            sink.finish()
        return job._job

    def _abandon(self, job: Job) -> None:
        """The caller stopped waiting: kill the job, so that nothing of it runs on."""
        job._drop_files()
        try:
            self._engine.call(lambda session: session.signal(job._job, 9))
        except GprocError:
            return

    def _ask(self, question: Callable[[ClientSession], int]) -> JobAnswer:
        """Ask a question about jobs, and wait for the answer.  Raises: JobRejected, LinkLost."""
        serial = self._engine.call(question)
        self._engine.wait_until(lambda: serial in self._answers)
        found = self._answers.pop(serial)
        if isinstance(found, Refusal):
            raise found.error
        return found.answer

    def _handle(self, event: SessionEvent) -> None:
        match event:
            case JobEvent(known, happened):
                if (job := self._jobs.get(known)) is not None:
                    job._keep(happened)
                if known.ended:
                    self._jobs.pop(known, None)
            case JobRefused(known):
                self._jobs.pop(known, None)
            case TreeAnswer(state):
                self._trees[state.serial] = tree_info(state)
            case Answered(serial) | Refusal(serial):
                self._answers[serial] = event
            case _:
                pass


def connect(socket: FilePath | None = None) -> Cluster:
    """Connect to the master of this machine.

    socket: its path; None: the one that `gproc e` would use, by the files in which a site and a user set defaults.
    Raises: NoMaster, TrustError; UsageError if such a file is wrong.

        >>> with gproc.connect() as cluster:
        ...     cluster.run(".", ["hostname"])
    """
    return Cluster(socket)


def pack(
    program: FilePath,
    *,
    args: FilePaths = (),
    files: FilePaths = (),
    root: FilePath = "/",
    library_path: FilePaths = (),
    cwd: FilePath | None = None,
) -> Bundle:
    """Pack a program with all that it needs, for `bundle=` of any number of jobs; no cluster is needed.

    args: the words that will follow the program's name: they bring along the files that they name, as for `gproc e`.
    files, root, library_path: as of -f, -r and -L of `gproc e`.  cwd: where relative paths begin; None: the caller's.
    Raises: BundleError and its kinds; GprocError if the working directory is gone.

        >>> gproc.pack("sort").digest.hex()[:8]
        '5f0a71c3'
    """
    return pack_program(
        [os.fspath(program), *paths_of(args)], files=files, root=root, library_path=library_path,
        cwd=working_directory() if cwd is None else os.fspath(cwd), environ=os.environ,
    )  # fmt: skip
