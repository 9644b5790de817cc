"""`gproc runtime`: what a node is sent that has nothing but a kernel, as a table, as JSON or as files."""

from __future__ import annotations

import os
import sys

import msgspec

from gproc.cli.options import RuntimeOptions
from gproc.cli.start import parcel_of
from gproc.cli.table import table
from gproc.cli.trace import Trace
from gproc.disk.special import output_path
from gproc.runtime.making import Runtime, runtime_of_root, runtime_of_this_machine
from gproc.start.copying import files_to_copy
from gproc.trust.home import PUBLIC_MODE, write_file


class RuntimeReport(msgspec.Struct, frozen=True):
    """A runtime in JSON.  digest: SHA-256 of the archive."""

    digest: str
    machine: str
    python: str
    files: int
    unpacked_bytes: int
    archive_bytes: int
    helper_bytes: int


def run(options: RuntimeOptions) -> int:
    trace = Trace(options.debug)
    runtime = runtime_of_this_machine(os.environ) if options.root == "/" else runtime_of_root(os.environ, options.root)
    trace.step(f"runtime {runtime.digest} of {runtime.files} files for {runtime.machine}")
    if options.tar is not None:
        write_file(output_path(options.tar), runtime.archive, PUBLIC_MODE)
        trace.step(f"wrote {options.tar}")
    if options.out is not None:
        os.makedirs(options.out, exist_ok=True)
        for name, content in files_to_copy(parcel_of(runtime)):
            write_file(os.path.join(options.out, name), content, PUBLIC_MODE)
        trace.step(f"wrote what a node is copied to {options.out}")
    report = report_of(runtime)
    if options.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    elif options.tar is None and options.out is None:
        rows = [(name.replace("_", " "), str(value)) for name, value in msgspec.structs.asdict(report).items()]
        sys.stdout.write(table(("RUNTIME", ""), rows))
    return 0


def report_of(runtime: Runtime) -> RuntimeReport:
    return RuntimeReport(
        digest=runtime.digest,
        machine=runtime.machine,
        python=runtime.python,
        files=runtime.files,
        unpacked_bytes=runtime.unpacked_bytes,
        archive_bytes=len(runtime.archive),
        helper_bytes=len(runtime.helper),
    )
