"""`gproc bundle COMMAND`: what would be sent and why, as a table, as JSON or as a tar file.  Needs no cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import Final

import msgspec

from gproc.bundle.surroundings import working_directory
from gproc.bundle.unsent import unsent
from gproc.cli.options import BundleOptions
from gproc.cli.reading_line import ReadingLine
from gproc.cli.table import table
from gproc.cli.trace import Trace, bundle_text
from gproc.content.manifest import Directory, Entry, File, Symlink
from gproc.disk.special import output_path
from gproc.packager import Bundle, PackRequest, pack, read_chunk
from gproc.shown import count_text, shown_text


class Line(msgspec.Struct, frozen=True):
    """One file or link as it is shown; size_bytes is 0 for a link."""

    path: str
    kind: str
    target: str
    size_bytes: int
    why: str


class BundleReport(msgspec.Struct, frozen=True):
    """A bundle in JSON.  In paths, bytes that are not UTF-8 are written as \\xNN."""

    program: str
    digest: str
    size_bytes: int
    loader: str
    glibc: str
    library_dirs: tuple[str, ...]
    code_dirs: tuple[str, ...]
    configured_dirs: tuple[str, ...]
    files: tuple[Line, ...]
    named_not_sent: tuple[str, ...]
    opens_libraries: bool


NAMED_SHOWN: Final = 8


def run(options: BundleOptions) -> int:
    """Pack the program, and show a table or JSON.  With `tar`, the bundle is written there, and no table is shown."""
    request = PackRequest(
        program=options.command[0],
        command=options.command,
        around=True,
        cwd=working_directory(),
        environ=os.environ,
        extra=options.files,
        with_package=options.with_package,
        root=options.root,
        image=options.image,
        library_path=options.library_path,
        traced=options.trace is not False,
        venv=options.venv,
    )
    trace = Trace(options.debug)
    if options.trace:
        from gproc.cli.tracing import run_here

        run_here(request, os.environb, (0, 2, 2), trace)  # our standard output is for the table
    trace.step(f"packs {request.program} from the system at {options.image or options.root}, without the cache")
    with ReadingLine():
        bundle = pack(request, explain=True)
    manifest = bundle.manifest
    trace.step(f"packed {_text(manifest.program)}: {bundle_text(bundle.digest, manifest.size_bytes())}")
    trace.detail(f"its dynamic linker: {_text(manifest.loader) or 'none'}")
    for directory in manifest.library_dirs:
        trace.detail(f"a directory of its libraries: {_text(directory)}")
    if options.tar is not None:
        from gproc.bundle.archive import write_file

        write_file(manifest, partial(read_chunk, bundle), output_path(options.tar))
        trace.step(f"wrote {options.tar}")
    if options.json:
        report = report_of(bundle, options.root)
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    elif options.tar is None:
        _print_table(report_of(bundle, options.root))
    return 0


def report_of(bundle: Bundle, root: str) -> BundleReport:
    """The facts about a bundle for people and programs: files and links, without the directories."""
    manifest = bundle.manifest
    lacks = unsent(manifest, root)
    major, minor = manifest.glibc_version
    return BundleReport(
        program=_text(manifest.program),
        digest=bundle.digest.hex(),
        size_bytes=manifest.size_bytes(),
        loader=_text(manifest.loader),
        glibc=f"{major}.{minor}" if manifest.glibc else "",
        library_dirs=tuple(map(_text, manifest.library_dirs)),
        code_dirs=tuple(map(_text, manifest.code_dirs)),
        configured_dirs=tuple(map(_text, manifest.configured_dirs)),
        files=tuple(_lines(bundle, manifest.entries)),
        named_not_sent=lacks.named,
        opens_libraries=lacks.opens_libraries,
    )


def _lines(bundle: Bundle, entries: tuple[Entry, ...]) -> Iterator[Line]:
    for entry in entries:
        why = _text(os.fsencode(bundle.reasons.get(entry.path, "")))
        match entry:
            case File():
                yield Line(_text(entry.path), "file", "", entry.size_bytes, why)
            case Symlink():
                yield Line(_text(entry.path), "link", _text(entry.target), 0, why)
            case Directory():
                # A directory is shown only if it was asked for (`-f dir/.`).
                if why:
                    yield Line(_text(entry.path), "directory", "", 0, why)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


def _print_table(report: BundleReport) -> None:
    rows = [
        (
            f"{line.path} -> {line.target}" if line.kind == "link" else line.path,
            str(line.size_bytes) if line.kind == "file" else line.kind,
            line.why,
        )
        for line in report.files
    ]
    count = sum(line.kind == "file" for line in report.files)
    sys.stdout.write(table(("FILE", "BYTES", "WHY"), rows, right=("BYTES",)))
    print(f"{count_text(count, 'file')}, {report.size_bytes} bytes, bundle {report.digest[:16]}")
    if text := lacking_text(report):
        print(text)


def lacking_text(report: BundleReport) -> str:
    """What a node will lack, as far as the program's own file tells; "" if it tells nothing."""
    parts = []
    if named := report.named_not_sent:
        more = f" and {len(named) - NAMED_SHOWN} more" if len(named) > NAMED_SHOWN else ""
        shown = ", ".join(shown_text(name) for name in named[:NAMED_SHOWN])
        parts.append(f"the program names {shown}{more}: a node must have them, or add them by -f or --with-package")
    if report.opens_libraries:
        parts.append("it may load libraries by names that it makes at run time (dlopen)")
    return "not in it: " + "; ".join(parts) if parts else ""
