"""A psij.JobSpec as an invocation: what to run, how often, and with which bounds."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from psij import InvalidJobException, JobSpec, ResourceSpecV1

from gproc.adapters.invoke.attributes import COUNT_MAX, Backend, Invocation, Redirect

LAUNCHERS: Final[Mapping[str, Backend]] = {"single": "NORMAL", "multiple": "NORMAL", "mpirun": "MPI"}
"""What psij's own launchers mean here: one process, `process_count` processes, one program of MPI."""

WITH_SCRIPTS: Final = 'if [ -n "$1" ]; then . "$1"; fi; post=$2; shift 2; "$@"; status=$?; ' + (
    'if [ -n "$post" ]; then . "$post"; fi; exit $status'
)
"""A line of bash: the pre-launch script, the command, the post-launch script; its status is the command's."""

NODES: Final = "gproc.nodes"
FILES: Final = "gproc.files"
MPIRUN: Final = "gproc.mpirun"
"""Custom attributes: a node specification; a list of files that go along; the mpirun of the program's MPI."""

CUSTOM: Final = (NODES, FILES, MPIRUN)


class JobPlan(msgspec.Struct, frozen=True):
    """What runs, and on how many nodes.

    per_node: processes on each node.  node_file: a temporary file, to be removed at the end; None: there is none.
    """

    asked: Invocation
    node_count: int
    per_node: int
    node_file: str | None


def plan_of(spec: JobSpec) -> JobPlan:
    """Raises: InvalidJobException."""
    if not spec.executable:
        raise InvalidJobException("the job has no executable")
    launcher = spec.launcher or "single"
    if launcher not in LAUNCHERS:
        raise InvalidJobException(f"gproc has no launcher {launcher!r}: {', '.join(LAUNCHERS)}")
    resources = spec.resources or ResourceSpecV1()
    if not isinstance(resources, ResourceSpecV1):
        raise InvalidJobException(f"gproc reads resources of version 1, not {resources.version}")
    count = resources.computed_process_count
    if not 1 <= count <= COUNT_MAX:
        raise InvalidJobException(f"the job wants {count} processes: 1 to {COUNT_MAX} are possible")
    for name in spec.attributes.custom_attributes or {}:
        if name.startswith("gproc.") and name not in CUSTOM:  # a mistyped one could run the job on other nodes
            raise InvalidJobException(f"there is no custom attribute {name}: {', '.join(CUSTOM)}")
    files = _list_of(spec.attributes.custom_attributes or {}, FILES)
    node_file = _node_file(count) if count > 1 else None
    try:
        invocation = _invocation(spec, launcher, resources, files, node_file)
    except InvalidJobException:
        if node_file is not None:
            os.unlink(node_file)
        raise
    if launcher == "single":
        return JobPlan(invocation, 1, 1, node_file)
    return JobPlan(invocation, resources.computed_node_count, resources.computed_processes_per_node, node_file)


def _invocation(
    spec: JobSpec, launcher: str, resources: ResourceSpecV1, files: Sequence[str], node_file: str | None
) -> Invocation:
    attributes = spec.attributes
    custom = attributes.custom_attributes or {}
    assert spec.executable is not None
    command = [spec.executable, *(spec.arguments or ())]
    scripts = [_absolute(script) or "" for script in (spec.pre_launch, spec.post_launch)]
    files = [*files, *(file for file in (*scripts, node_file) if file)]
    if any(scripts):
        files += [found] if (found := shutil.which(command[0])) is not None else []
        command = ["/bin/bash", "-c", WITH_SCRIPTS, "gproc", *scripts, *command]
    environment = {name: str(value) for name, value in (spec.environment or {}).items()}
    count = resources.computed_process_count
    memory = resources.memory
    return Invocation(
        hostname="", port=0, executable=command[0], backend=LAUNCHERS[launcher], count=count, staging=True,
        arguments=tuple(command[1:]), environment=environment | ({"PSIJ_NODEFILE": node_file} if node_file else {}),
        clean=not spec.inherit_environment, stdin_file=_absolute(spec.stdin_path), redirect=_redirect(spec),
        work_directory=None if spec.directory is None else str(spec.directory), host_count=None,
        time_limit_s=attributes.duration.total_seconds(), cpu_limit_s=None,
        mem_bytes=None if memory is None else max(1, memory // count), nodes=str(custom.get(NODES, "./.")),
        files=tuple(files), max_procs=None, cpus=resources.cpu_cores_per_process, nice=None,
        mpirun=str(custom.get(MPIRUN, "mpirun")), mpi_options=(), reasons=True, ignored=(),
    )  # fmt: skip


def _redirect(spec: JobSpec) -> Redirect | None:
    if spec.stdout_path is None and spec.stderr_path is None:
        return None
    return Redirect(_absolute(spec.stdout_path) or os.devnull, _absolute(spec.stderr_path) or os.devnull)


def _list_of(custom: Mapping[str, object], name: str) -> list[str]:
    value = custom.get(name, [])
    if not isinstance(value, list | tuple):
        raise InvalidJobException(f"{name} is not a list")
    return [str(each) for each in value]


def _absolute(path: Path | None) -> str | None:
    return None if path is None else os.path.abspath(path)


def _node_file(count: int) -> str:
    """A file with a line for each process, as psij's own executors give to a job by PSIJ_NODEFILE."""
    with tempfile.NamedTemporaryFile("w", suffix=".nodelist", delete=False) as file:
        file.write("localhost\n" * count)
    return file.name
