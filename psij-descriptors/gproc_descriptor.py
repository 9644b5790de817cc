"""Tells psij-python of the executor `gproc`.  psij reads the directories of this name on Python's path."""

from packaging.version import Version
from psij.descriptor import Descriptor

__PSI_J_EXECUTORS__ = [
    Descriptor(
        name="gproc", nice_name="gproc", version=Version("0.1.0"), cls="gproc.adapters.psij.executor.GprocJobExecutor"
    )
]
