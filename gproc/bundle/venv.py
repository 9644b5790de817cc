"""A Python environment as a whole: a virtual environment (PEP 405), or one of conda's.

It goes along with all that is in it, and with the Python that it was made with, and is active for the program.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from gproc.bundle.which import DEFAULT_PATH
from gproc.errors import UsageError


class Environment(msgspec.Struct, frozen=True):
    """root: its absolute path.  python: its interpreter, or "".  variables: which make it active."""

    root: str
    python: str
    variables: dict[str, str]

    def of(self, environ: Mapping[str, str]) -> dict[str, str]:
        """A program's variables, with those that make it active, as its `activate` sets them."""
        path = f"{self.root}/bin:{environ.get('PATH') or DEFAULT_PATH}"
        others = {name: value for name, value in environ.items() if name != "PYTHONHOME"}
        return {**others, **self.variables, "PATH": path}


def environment_at(directory: str, cwd: str) -> Environment:
    """Raises: UsageError if there is none."""
    root = os.path.normpath(os.path.join(cwd, directory))
    if os.path.exists(f"{root}/conda-meta"):
        variables = {"CONDA_PREFIX": root, "CONDA_DEFAULT_ENV": root}
    elif os.path.exists(f"{root}/pyvenv.cfg"):
        variables = {"VIRTUAL_ENV": root}
    else:
        raise UsageError(
            f"--venv {directory}: is neither a virtual environment (it has no pyvenv.cfg) nor one of conda's"
            " (it has no conda-meta)"
        )
    python = f"{root}/bin/python"
    return Environment(root, python if os.path.exists(python) else "", variables)
