"""From a program's name to a bundle: everything to send so that the program runs elsewhere as it runs here.

It takes a name as typed, reads with the caller's rights only, and executes nothing that it packs.  A program that was
packed before and has not changed costs only a few calls of stat: no ELF file is opened, because packing must not slow
down a warm `gproc e` (docs/benchmarks.md).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from gproc.bundle import cache, series
from gproc.bundle.command.defaults import SAY_MORE
from gproc.bundle.command.variables import directories_named, files_named
from gproc.bundle.meaning import Meant, Ran
from gproc.bundle.surroundings import Surroundings
from gproc.bundle.tracing import observed
from gproc.content.manifest import Digest, Manifest, digest_of, encode, nanoseconds, trusted
from gproc.content.paths import within
from gproc.descriptors import may_be_text
from gproc.errors import BundleError, UsageError

if TYPE_CHECKING:
    from gproc.bundle.tracing.observing import Observation


class PackRequest(msgspec.Struct, frozen=True):
    """What to pack.

    program: as typed: a path with a slash in it, or a name to look for on PATH.
    extra: the items of -f, relative to cwd: `dir` is a tree, `dir/.` the directory alone.
    root: the directory that counts as "/" (-r): program, extra and libraries are all looked for inside it.
    library_path: directories of -L, searched before the system's.
    command: all words of the command, whose first is `program`; () if only the program is meant.
    words: whether the other words bring along what they name (`--no-words`).
    around: whether the caller's own programs and scripts bring along the small directories in which they lie.
    standard_input: the descriptor that the command reads as its standard input, if it is known: the words of a file
    count too, and a file or a text that waits in a pipe is the script of an interpreter that is given none.
    nodes_programs: programs that the command names without a slash, but for its first, are the node's own.
    with_package: add what the packages of the programs install and depend on.
    venv: the directory of a Python environment that goes along as a whole, and is active; "": none.
    image: an image (`gproc.bundle.containers.images`) whose root file system counts as `root`; "": none.
    also: other programs that go along.
    traced: add what runs of this program touched that were observed (`observe`).
    cache_dir: the directory of the cache; None for `cache.default_directory`.
    """

    program: str
    cwd: str
    environ: Mapping[str, str]
    extra: tuple[str, ...] = ()
    root: str = "/"
    library_path: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    words: bool = True
    around: bool = False
    standard_input: int | None = None
    nodes_programs: bool = False
    with_package: bool = False
    venv: str = ""
    image: str = ""
    also: tuple[str, ...] = ()
    traced: bool = True
    cache_dir: str | None = None


class ChunkSource(msgspec.Struct, frozen=True):
    """A chunk's bytes: `length` bytes from `offset` on in the file at `path`."""

    path: bytes
    offset: int
    length: int


RACY_NS: Final = 100_000_000
"""A file that changed within this time could change again within the same tick of the file system's clock (4 to 10 ms:
CONFIG_HZ) and keep its stamp."""


class SourceStamp(msgspec.Struct, frozen=True):
    """The state of a file when it was packed, by stat(2).  While it is unchanged, the file need not be hashed again.

    settled: the file had not changed within `RACY_NS` before.
    """

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    settled: bool

    @classmethod
    def of(cls, status: os.stat_result, now_ns: int) -> SourceStamp:
        """now_ns: time.time_ns() of the call."""
        settled = max(status.st_mtime_ns, status.st_ctime_ns) < now_ns - RACY_NS
        mtime_ns, ctime_ns = nanoseconds(status.st_mtime_ns), nanoseconds(status.st_ctime_ns)
        return cls(status.st_dev, status.st_ino, status.st_size, mtime_ns, ctime_ns, settled)

    def holds(self, status: os.stat_result) -> bool:
        times_ns = (nanoseconds(status.st_mtime_ns), nanoseconds(status.st_ctime_ns))
        found = (status.st_dev, status.st_ino, status.st_size, *times_ns)
        return self.settled and found == (self.device, self.inode, self.size_bytes, self.mtime_ns, self.ctime_ns)


class Bundle(msgspec.Struct, frozen=True, dict=True):
    """A packed program.

    encoded: the manifest's encoded form, whose digest names the bundle.
    sources: path in the bundle -> path to read from, for each file for which these differ.
    reasons: path in the bundle -> why it is there; empty if the bundle came from the cache.
    made: chunks that are in no file, but were made for this bundle, or that are in memory.
    bases: path in the bundle -> the offset at which a file begins in its source, if not 0.
    left: words of the command that name directories or large files of the caller, which only -f takes along.
    stamps: path to read from -> its state when it was packed; a file that is not in it is hashed when it is sent.
    """

    encoded: bytes
    digest: Digest
    sources: dict[bytes, bytes]
    reasons: dict[bytes, str]
    made: dict[Digest, bytes] = {}
    bases: dict[bytes, int] = {}
    stamps: dict[bytes, SourceStamp] = {}
    left: tuple[str, ...] = ()

    @cached_property
    def manifest(self) -> Manifest:
        return trusted(self.encoded)

    @cached_property
    def chunks(self) -> dict[Digest, ChunkSource]:
        """Every chunk once, by digest."""
        return {
            digest: ChunkSource(self.sources.get(file.path, file.path), self.bases.get(file.path, 0) + offset, length)
            for file in self.manifest.files()
            for digest, offset, length in file.chunks()
        }


def find_program(name: str, cwd: str, environ: Mapping[str, str], root: str = "/") -> str:
    """The absolute path that a shell would execute.

    Raises: ProgramNotFound, ProgramNotExecutable; BundleError if `root` is no directory.
    """
    from gproc.bundle import which
    from gproc.bundle.image import Image

    at = os.path.join(cwd, root)
    if root != "/" and not os.path.isdir(at):
        raise BundleError(f"{root}: {'is no directory' if os.path.lexists(at) else 'there is no such directory'}")
    image = Image(at)
    return which.find(image, name, environ.get("PATH", which.DEFAULT_PATH), Surroundings(environ, cwd).absolute)


def pack(request: PackRequest, *, explain: bool = False) -> Bundle:
    """The bundle of a program, from the cache if its record still holds.

    explain: fill in `reasons`; then the cache is not used.
    Raises: ProgramNotFound, ProgramNotExecutable; BundleError if a file cannot be resolved or read.
    """
    started_ns = time.time_ns()
    request = _with_environment(_with_image(request))
    surroundings = Surroundings(request.environ, request.cwd)
    program = find_program(request.program, request.cwd, request.environ, request.root)
    meant = _meant(request)
    directory = _cache_directory(request)
    kept = observed.recall(os.path.dirname(directory), _runs_name(program, meant)) if _uses_runs(request) else None
    question = _question(request, program, meant, kept)
    if not explain:
        environ = {os.fsencode(name): os.fsencode(value) for name, value in request.environ.items()}
        record = cache.recall(directory, question, environ, os.fsencode(request.cwd))
        if record is not None:
            left = _left(request, meant, record.taken)
            return Bundle(record.encoded, Digest(record.digest), dict(record.sources), {}, left=left)
    seen = observed.Observed() if kept is None else kept.observed()
    return _pack_afresh(request, program, meant, seen, surroundings, question, directory, started_ns)


def observe(request: PackRequest, environ: Mapping[str, str], descriptors: Sequence[int]) -> Observation:
    """Run the command here, once, and keep what it touched: bundles of the same program have that from now on.

    environ: the program's.  descriptors: its 0, 1 and 2.
    Raises: ProgramNotFound, ProgramNotExecutable; BundleError if a program cannot be observed.
    """
    from gproc.bundle.tracing.observing import observe as observe_run

    request = _with_environment(request)
    program = find_program(request.program, request.cwd, request.environ)
    found = observe_run(program, request.command, environ, descriptors)
    directory = os.path.dirname(_cache_directory(request))
    try:
        observed.keep(directory, _runs_name(program, _meant(request)), found.observed)
    except OSError as error:
        raise BundleError(f"{directory}: what the traced run touched cannot be kept there: {error.strerror}") from error
    return found


def read_chunk(bundle: Bundle, digest: Digest) -> bytes:
    """One chunk, read again from its file, and checked against its digest unless the file's stamp is unchanged.

    Raises: BundleError if its file changed since it was packed; KeyError if the chunk is not in the bundle.
    """
    if (made := bundle.made.get(digest)) is not None:
        return made
    source = bundle.chunks[digest]
    try:
        descriptor = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BundleError(f"{os.fsdecode(source.path)}: cannot be read any more: {error.strerror}") from error
    try:
        data = os.pread(descriptor, source.length, source.offset)
        stamp = bundle.stamps.get(source.path)
        unchanged = stamp is not None and stamp.holds(os.fstat(descriptor)) and len(data) == source.length
    finally:
        os.close(descriptor)
    if not unchanged and digest_of(data) != digest:
        path = os.fsdecode(source.path)
        raise BundleError(f"{path}: changed while it was being sent; run it again when nothing writes to it")
    return data


def _meant(request: PackRequest) -> Meant:
    """What the words mean.  Inside another root (-r) they are the caller's, and name nothing there."""
    also = tuple(map(Ran, request.also))
    says_more = len(request.command) > 1 or os.path.basename(request.program) in SAY_MORE
    named = files_named(request.environ, request.cwd) or directories_named(request.environ, request.cwd)
    if request.words and request.root == "/" and (says_more or named or may_be_text(request.standard_input)):
        from gproc.bundle.command.words import meant as meant_by

        command = request.command or (request.program,)
        found = meant_by(
            command, request.cwd, request.environ, request.standard_input, nodes_programs=request.nodes_programs
        )
        meant = replace(found, programs=(*found.programs, *also), around=request.around)
    else:
        meant = Meant((Ran(request.program), *also), around=request.around and request.root == "/")
    return replace(meant, series=series.of_outputs()) if meant.around else meant


def _left(request: PackRequest, meant: Meant, taken: Sequence[bytes]) -> tuple[str, ...]:
    """The words of which nothing goes along.  taken: directories that do, whole."""
    gone = tuple(map(os.fsdecode, taken))
    paths = {word: os.path.normpath(os.path.join(request.cwd, word)) for word in meant.left}
    return tuple(word for word, path in paths.items() if not any(within(path, each) for each in gone))


def _with_environment(request: PackRequest) -> PackRequest:
    """Raises: UsageError if `venv` is no Python environment."""
    if not request.venv:
        return request
    if request.root != "/":
        raise UsageError("--venv is of this system, and -r or --image from another one: leave one of them out")
    from gproc.bundle.venv import environment_at

    found = environment_at(request.venv, request.cwd)
    return replace(
        request,
        venv="",
        environ=found.of(request.environ),
        extra=(*request.extra, found.root),
        also=(found.python,) if found.python else (),
    )


def _with_image(request: PackRequest) -> PackRequest:
    """Raises: BundleError if the image cannot be read; UsageError if there is another root."""
    if not request.image:
        return request
    if request.root != "/":
        raise UsageError("--image and -r both say where the program is taken from: leave one of them out")
    from gproc.bundle.containers.images import root_of

    return replace(request, image="", root=root_of(request.image, request.cwd, request.environ))


def _cache_directory(request: PackRequest) -> str:
    return request.cache_dir or cache.default_directory(request.environ)


def _uses_runs(request: PackRequest) -> bool:
    return request.traced and request.root == "/"


def _runs_name(program: str, meant: Meant) -> str:
    """Runs are of one program if they are of one script, or of one text, and run the same other programs."""
    own, *others = meant.programs
    words = [program, own.script, own.code]
    for other in others:
        words += [other.name, other.script, other.code]
    return observed.name_of(map(os.fsencode, words))


def _question(
    request: PackRequest, program: str, meant: Meant, kept: observed.Recalled | None
) -> cache.Question:
    def absolute(path: str) -> bytes:
        return os.fsencode(os.path.join(request.cwd, path))

    return cache.Question(
        program=os.fsencode(program),
        # `.` is a tree, as `./` is: joined, it would end as `dir/.` does, which is a directory alone.
        extra=tuple(absolute("" if item == "." else item) for item in request.extra),
        root=absolute(request.root),
        library_path=tuple(absolute(each) for each in request.library_path),
        superuser=os.geteuid() == 0,
        programs=tuple(tuple(map(os.fsencode, (ran.name, ran.script, ran.code))) for ran in meant.programs[1:]),
        script=os.fsencode(meant.programs[0].script),
        code=os.fsencode(meant.programs[0].code),
        files=tuple(map(os.fsencode, meant.files)),
        yielding=tuple(map(os.fsencode, meant.yielding)),
        with_package=request.with_package,
        observed=b"" if kept is None else kept.digest,
        directories=tuple(tuple(map(os.fsencode, ran.directories)) for ran in meant.programs),
        told=tuple((os.fsencode(name), os.fsencode(path)) for name, path in meant.told),
        whole=tuple(map(os.fsencode, meant.whole)),
        around=meant.around,
        named=tuple(map(os.fsencode, meant.directories)),
        small=tuple(map(os.fsencode, meant.small)),
        series=tuple(map(os.fsencode, meant.series)),
    )


def _pack_afresh(
    request: PackRequest,
    program: str,
    meant: Meant,
    seen: observed.Observed,
    surroundings: Surroundings,
    question: cache.Question,
    directory: str,
    started_ns: int,
) -> Bundle:
    from gproc.bundle import packing
    from gproc.bundle.image import Image
    from gproc.bundle.memo import Memo

    image = Image(os.path.join(request.cwd, request.root), Memo(os.path.dirname(directory)))
    # Absolute already: packing must not ask for the working directory, on which the record would then depend.
    extra = tuple(map(os.fsdecode, question.extra))
    library_path = tuple(map(os.fsdecode, question.library_path))
    try:
        packed = packing.pack(
            image, surroundings, program, meant, extra, library_path, question.superuser, question.with_package, seen
        )
    except OSError as error:
        raise BundleError(f"{error.filename}: cannot be packed: {error.strerror}") from error
    image.memo.save()
    encoded = encode(packed.manifest)
    sources = {path: source for path, source in packed.sources.items() if path != source}
    made = packed.made | packed.held
    left = _left(request, meant, packed.taken)
    bundle = Bundle(encoded, digest_of(encoded), sources, packed.reasons, made, left=left)
    if packed.made:
        return bundle  # what is read from /proc or /sys is another file the next time
    record = cache.Record(
        question=question,
        digest=bundle.digest,
        encoded=encoded,
        sources=tuple(sources.items()),
        traces=image.traces(),
        environ=surroundings.environ_asked(),
        cwd=surroundings.cwd_asked(),
        taken=packed.taken,
    )
    cache.remember(directory, record, started_ns)
    return bundle
