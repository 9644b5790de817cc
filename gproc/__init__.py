"""gproc: run a program on every node of a cluster.

    import gproc

    with gproc.connect() as cluster:
        done = cluster.run("./.", ["./solver", "--steps", "9"], check=True)
        print(done.stdout["1/2"])

docs/library.md is the guide to the library, docs/architecture.md the tour of the code.  The names in `__all__` are
public.  Each is imported when it is first used, so that a slave, which uses none of them, does not pay for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gproc.client.aio import AsyncCluster, connect_async
    from gproc.client.aio_job import AsyncJob
    from gproc.client.cluster import Cluster, connect, pack
    from gproc.client.events import Departed, Event, Exited, Output, Skipped, Staged, Started, TaskExited, Unreached
    from gproc.client.executor import CommandExecutor
    from gproc.client.job import Job
    from gproc.client.known import JobInfo
    from gproc.client.mapped import MappedTasks
    from gproc.client.options import DEVNULL, PIPE
    from gproc.client.results import CompletedJob, JobFailed, TimeoutExpired
    from gproc.client.stack_info import StackInfo, StackNote, StacksInfo
    from gproc.client.tasks import TaskResult, TasksNotRun
    from gproc.client.tree import CopyFailed, CopyResult, NodeStatus, TreeInfo
    from gproc.errors import (
        BundleError,
        GprocError,
        JobRejected,
        LinkLost,
        MasterSilent,
        NoMaster,
        ProgramNotExecutable,
        ProgramNotFound,
        SpecError,
        TrustError,
        UsageError,
    )
    from gproc.packager import Bundle
    from gproc.request.outcome import Killed, Lost, NotStarted, Outcome, Refused, Returned, Signalled, TimedOut

_MODULES = {
    "gproc.client.aio": ("AsyncCluster", "connect_async"),
    "gproc.client.aio_job": ("AsyncJob",),
    "gproc.client.cluster": ("Cluster", "connect", "pack"),
    "gproc.client.executor": ("CommandExecutor",),
    "gproc.client.job": ("Job",),
    "gproc.client.known": ("JobInfo",),
    "gproc.client.events": (
        "Departed", "Event", "Exited", "Output", "Skipped", "Staged", "Started", "TaskExited", "Unkept", "Unreached",
    ),
    "gproc.client.options": ("DEVNULL", "PIPE"),
    "gproc.client.results": ("CompletedJob", "JobFailed", "TimeoutExpired"),
    "gproc.client.mapped": ("MappedTasks",),
    "gproc.client.stack_info": ("StackInfo", "StackNote", "StacksInfo"),
    "gproc.client.tasks": ("TaskResult", "TasksNotRun"),
    "gproc.client.tree": ("CopyFailed", "CopyResult", "NodeStatus", "TreeInfo"),
    "gproc.errors": (
        "BundleError", "GprocError", "JobRejected", "LinkLost", "MasterSilent", "NoMaster", "ProgramNotExecutable",
        "ProgramNotFound", "SpecError", "TrustError", "UsageError",
    ),
    "gproc.packager": ("Bundle",),
    "gproc.request.outcome": (
        "Killed", "Lost", "NotStarted", "Outcome", "Refused", "Returned", "Signalled", "TimedOut",
    ),
}  # fmt: skip

__all__ = [
    "DEVNULL", "PIPE", "AsyncCluster", "AsyncJob", "Bundle", "BundleError", "Cluster", "CommandExecutor",
    "CompletedJob", "CopyFailed", "CopyResult", "Departed", "Event", "Exited", "GprocError", "Job", "JobFailed",
    "JobInfo", "JobRejected", "Killed", "LinkLost", "Lost", "MappedTasks", "MasterSilent", "NoMaster", "NodeStatus",
    "NotStarted", "Outcome", "Output", "ProgramNotExecutable", "ProgramNotFound", "Refused", "Returned",
    "Signalled", "Skipped", "SpecError", "StackInfo", "StackNote", "StacksInfo", "Staged", "Started", "TaskExited",
    "TaskResult", "TasksNotRun", "TimedOut", "TimeoutExpired", "TreeInfo", "TrustError", "Unkept", "Unreached",
    "UsageError", "connect", "connect_async", "pack",
]  # fmt: skip


def __getattr__(name: str) -> object:
    from importlib import import_module

    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'gproc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
