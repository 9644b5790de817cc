"""What the modes that run programs ask for: `gproc e` and `gproc map`.  Pure."""

from __future__ import annotations

from typing import Final

import msgspec

DEFAULT_SOCKET: Final = "/tmp/g"


class ProgramOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What both have.  nodes, exclude: specifications, not yet parsed.  env: `NAME=VALUE`; `NAME`: as it is here.

    trace: run it here first; None: only what earlier traced runs touched goes along; False: not that either.
    bin_root: "" if each slave uses its own.  cwd: a directory of the node; "": a private one at ours.
    The limits max_procs, mem_bytes, cpus and nice are for the processes on each node, of `map` for those of each task;
    None: no limit.
    """

    nodes: str = ""
    command: tuple[str, ...] = ()
    local_bin: bool = False
    shell: bool = False
    files: tuple[str, ...] = ()
    no_words: bool = False
    with_package: bool = False
    trace: bool | None = None
    venv: str = ""
    cwd: str = ""
    bin_root: str = ""
    socket: str = DEFAULT_SOCKET
    root: str = "/"
    image: str = ""
    library_path: tuple[str, ...] = ()
    exclude: str = ""
    require: str = ""
    env: tuple[str, ...] = ()
    clean_env: bool = False
    max_procs: int | None = None
    mem_bytes: int | None = None
    cpus: int | None = None
    nice: int | None = None
    debug: int = 0


class MapOptions(ProgramOptions, frozen=True, kw_only=True):
    """`gproc map`.  command: with replacement strings, and perhaps `:::` and the list.

    per_node: tasks at a time; 0: as many as the node has processors.  arg_file: has the list; "": standard input.
    null: zero bytes end its entries.  task_timeout_s: of each task.  joblog: a file; "": none.
    detach: the master has the list and hands it out.  on_disconnect: what becomes of the job if this command dies:
    "end", or "detach"; then the master hands the list out too.  name: of the job; "": none.
    """

    per_node: int = 0
    arg_file: str = ""
    null: bool = False
    keep_order: bool = False
    ungroup: bool = False
    tag: bool = False
    task_timeout_s: float | None = None
    max_fail: int | None = None
    joblog: str = ""
    detach: bool = False
    on_disconnect: str = "end"
    name: str = ""
