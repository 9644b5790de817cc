"""What a command line asks for, as values: one Struct for each mode.  Pure.

A field has the name of its switch's GNU spelling, with its unit if it has one.  The defaults are here and nowhere else.
`gproc.cli.switches` says which switches a mode takes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gproc.cli.node_options import (
    DEFAULT_BIN_ROOT,
    DEFAULT_CMD_PORT,
    DrainOptions,
    RemoveOptions,
    RestartOptions,
    StartOptions,
    StopOptions,
    UpgradeOptions,
)
from gproc.cli.program_options import DEFAULT_SOCKET as DEFAULT_SOCKET
from gproc.cli.program_options import MapOptions, ProgramOptions

DEFAULT_LINK_TIMEOUT_S: Final = 2.0
"""The jobs of a lost link must end within two seconds."""

SIGTERM: Final = 15

DEFAULT_ORPHAN_TIMEOUT_S: Final = 60.0
"""As `gproc.trust.lease.LEASE_S`, which costs too much to import here."""


class MasterOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc m`.  address: where children reach this master (None: by the locale).  store.., state: None: chosen."""

    bin_root: str = DEFAULT_BIN_ROOT
    socket: str = DEFAULT_SOCKET
    locale: str = "local"
    cmd_port: int = DEFAULT_CMD_PORT
    address: str | None = None
    store: str | None = None
    store_bytes: int | None = None
    state: str | None = None
    link_timeout_s: float = DEFAULT_LINK_TIMEOUT_S
    orphan_timeout_s: float = DEFAULT_ORPHAN_TIMEOUT_S
    log_json: bool = False
    debug: int = 0


class SlaveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc s`.  parent, id, address: postfix expressions that overrule the locale (None: by the locale)."""

    private: bool = True
    bin_root: str = DEFAULT_BIN_ROOT
    locale: str = "local"
    cmd_port: int = DEFAULT_CMD_PORT
    parent: str | None = None
    id: str | None = None
    address: str | None = None
    store: str | None = None
    store_bytes: int | None = None
    link_timeout_s: float = DEFAULT_LINK_TIMEOUT_S
    exit_after_s: float | None = None
    log_json: bool = False
    debug: int = 0


class ExecOptions(ProgramOptions, frozen=True, kw_only=True):
    """`gproc e`.

    retry_failed: nodes are those on which the last job has failed; without a command, it is that job's.
    """

    retry_failed: bool = False
    collect: tuple[str, ...] = ()
    label: bool = False
    gather: bool = False
    gather_all: bool = False
    live: bool = False
    diff: bool = False
    sort: bool = False
    outdir: str = ""
    json: bool = False
    no_stdin: bool = False
    tty: bool = False
    timeout_s: float | None = None
    json_progress: bool = False
    detach: bool = False
    name: str = ""
    spool: bool = False
    on_disconnect: str = "end"
    fanout: int | None = None
    max_fail: int | None = None


class CpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc cp`.  words: sources, and NODES:DEST last, not yet parsed."""

    words: tuple[str, ...]
    socket: str = DEFAULT_SOCKET
    exclude: str = ""
    timeout_s: float | None = None
    json_progress: bool = False
    debug: int = 0


class GetOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc get`.  source: NODES:SRC, not yet parsed.  directory: gets a directory for each node."""

    source: str
    directory: str
    socket: str = DEFAULT_SOCKET
    exclude: str = ""
    timeout_s: float | None = None
    debug: int = 0


class InfoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc i`.  nodes: a specification, in words; () for all.  watch: show it again and again.  events: faults."""

    nodes: tuple[str, ...] = ()
    watch: bool = False
    events: bool = False
    socket: str = DEFAULT_SOCKET
    json: bool = False
    debug: int = 0


class TopOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc top`."""

    socket: str = DEFAULT_SOCKET
    debug: int = 0


class WebOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc web`.  listen: HOST:PORT, or the path of a Unix socket.  token_file: "" for a token of this run alone."""

    listen: str = "127.0.0.1:8642"
    token_file: str = ""
    control: bool = False
    socket: str = DEFAULT_SOCKET
    debug: int = 0


class PsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc ps`.  all: ended jobs too."""

    socket: str = DEFAULT_SOCKET
    all: bool = False
    json: bool = False
    debug: int = 0


class LogsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc logs`.  job: a number, a name or "last".  nodes: a specification, not yet parsed; () for all.

    keep_order, tag, joblog: as of `MapOptions`, for a job whose tasks the master hands out.
    """

    job: str
    nodes: tuple[str, ...] = ()
    socket: str = DEFAULT_SOCKET
    follow: bool = False
    times: bool = False
    label: bool = False
    keep_order: bool = False
    tag: bool = False
    joblog: str = ""
    debug: int = 0


class AttachOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc attach`.  job: as of `LogsOptions`."""

    job: str
    socket: str = DEFAULT_SOCKET
    label: bool = False
    no_stdin: bool = False
    debug: int = 0


class WaitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc wait`.  job: as of `LogsOptions`."""

    job: str
    socket: str = DEFAULT_SOCKET
    debug: int = 0


class KillOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc kill`.  job, nodes: as of `LogsOptions`."""

    job: str
    nodes: tuple[str, ...] = ()
    socket: str = DEFAULT_SOCKET
    signal: int = SIGTERM
    debug: int = 0


class StacksOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc stacks`.  job, nodes: as of `LogsOptions`.  debugger: gdb looks too."""

    job: str
    nodes: tuple[str, ...] = ()
    socket: str = DEFAULT_SOCKET
    debugger: bool = False
    json: bool = False
    debug: int = 0


class RmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc rm`.  jobs: each as of `LogsOptions`."""

    jobs: tuple[str, ...]
    socket: str = DEFAULT_SOCKET
    debug: int = 0


class BundleOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc bundle`.  tar: the file that the bundle is written to; None: it is only shown.

    trace: as of ExecOptions.
    """

    command: tuple[str, ...]
    files: tuple[str, ...] = ()
    with_package: bool = False
    trace: bool | None = None
    venv: str = ""
    root: str = "/"
    image: str = ""
    library_path: tuple[str, ...] = ()
    json: bool = False
    tar: str | None = None
    debug: int = 0


class CertOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc cert`.  Each name's files go to the directory out/NAME; addresses: only with one name."""

    names: tuple[str, ...]
    out: str = "."
    addresses: tuple[str, ...] = ()
    debug: int = 0


class KeyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc key`.  words: what to do, and with what.  out: a file, "-" for stdout, None for NAME.keys."""

    words: tuple[str, ...]
    out: str | None = None
    addresses: tuple[str, ...] = ()
    passphrase_file: str | None = None
    json: bool = False
    debug: int = 0


class RuntimeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc runtime`.  tar: the file that the archive is written to.  out: the directory for what is copied to nodes.

    Without both it is only shown.  root: "/" for this installation.
    """

    root: str = "/"
    json: bool = False
    tar: str | None = None
    out: str | None = None
    debug: int = 0


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc store`.  prune_bytes: what each store may keep; None: nothing is removed."""

    store: str | None = None
    prune_bytes: int | None = None
    json: bool = False
    debug: int = 0


class ConfigOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc config`."""

    json: bool = False
    debug: int = 0


class PolicyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc policy`.  what: "check".  file: one path, or none for this machine's policy."""

    what: str
    file: tuple[str, ...] = ()
    debug: int = 0


class HelpRequest(msgspec.Struct, frozen=True):
    """The help page of a mode, by its name; of gproc itself if that is empty."""

    mode: str = ""


class VersionRequest(msgspec.Struct, frozen=True):
    """gproc's version."""


class CompletionRequest(msgspec.Struct, frozen=True):
    """Shell completion: the command line from `--install-completion` or `--show-completion` on."""

    arguments: tuple[str, ...]


class CompletionQuestion(msgspec.Struct, frozen=True):
    """A question of a shell: which words can complete the last one of these?"""

    words: tuple[str, ...]


class StartedRequest(msgspec.Struct, frozen=True):
    """Be the slave that the front end's commission describes."""


ModeOptions = (
    MasterOptions
    | SlaveOptions
    | ExecOptions
    | MapOptions
    | CpOptions
    | GetOptions
    | InfoOptions
    | PsOptions
    | LogsOptions
    | AttachOptions
    | WaitOptions
    | KillOptions
    | StacksOptions
    | RmOptions
    | BundleOptions
    | CertOptions
    | KeyOptions
    | PolicyOptions
    | RuntimeOptions
    | StartOptions
    | StopOptions
    | RestartOptions
    | RemoveOptions
    | UpgradeOptions
    | DrainOptions
    | StoreOptions
    | ConfigOptions
    | TopOptions
    | WebOptions
)
Command = ModeOptions | HelpRequest | VersionRequest | CompletionRequest | CompletionQuestion | StartedRequest
