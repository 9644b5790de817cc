"""`--trace`: runs a command here once, so that its bundles have from then on what it touched."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from gproc.cli.stderr import complain
from gproc.cli.trace import Trace
from gproc.errors import UsageError
from gproc.packager import PackRequest, observe
from gproc.shown import shown_text


def run_here(request: PackRequest, environ: Mapping[bytes, bytes], descriptors: Sequence[int], trace: Trace) -> None:
    """descriptors: the command's 0, 1 and 2.

    Raises: UsageError if the command is not of this system; BundleError and its kinds.
    """
    if request.root != "/" or request.image:
        raise UsageError("--trace runs the command here, and -r takes it from another system: leave one of them out")
    trace.step(f"runs {request.program} here, to see what it opens")
    found = observe(request, {os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()}, descriptors)
    touched = found.observed
    trace.step(f"it has executed {len(touched.executed)} programs and opened {len(touched.files)} files")
    if found.status:
        complain([f"--trace: here it ended with exit status {found.status}; what it opened until then goes along"])
    if touched.left:
        names = ", ".join(shown_text(os.fsdecode(path)) for path in touched.left)
        complain([f"--trace: too large to go along unasked: {names}; -f sends them"])
