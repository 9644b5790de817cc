"""The modes of gproc, as a table: half of the grammar of the command line, `gproc.cli.switches` is the other.  Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

import msgspec

from gproc.cli.kinds import Offer
from gproc.cli.node_options import (
    DrainOptions,
    RemoveOptions,
    RestartOptions,
    StartOptions,
    StopOptions,
    UpgradeOptions,
)
from gproc.cli.options import (
    AttachOptions,
    BundleOptions,
    CertOptions,
    ConfigOptions,
    CpOptions,
    ExecOptions,
    GetOptions,
    InfoOptions,
    KeyOptions,
    KillOptions,
    LogsOptions,
    MasterOptions,
    ModeOptions,
    PolicyOptions,
    PsOptions,
    RmOptions,
    RuntimeOptions,
    SlaveOptions,
    StacksOptions,
    StoreOptions,
    TopOptions,
    WaitOptions,
    WebOptions,
)
from gproc.cli.program_options import MapOptions


class Argument(msgspec.Struct, frozen=True):
    """A positional argument: one word, one or more, or one and all words after it, even switches.

    "list": one or more words, which the mode tells apart; its metavar says how many of what.  "optional": one or none.
    offers: what shell completion offers for its first word.  For the further words of a "rest" it offers files.
    """

    field: str
    metavar: str
    help: str
    takes: Literal["one", "many", "rest", "list", "optional"] = "one"
    offers: Offer = ""


class Mode(msgspec.Struct, frozen=True):
    """A mode of gproc.  `gproc.cli.<name>` carries it out.

    letters: the name that usage lines show.  also: further names.  options: the Struct of its options.
    help: one short sentence; more: what its own page adds.
    """

    name: str
    letters: str
    options: type[ModeOptions]
    help: str
    more: str
    arguments: tuple[Argument, ...] = ()
    also: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        return (self.letters, *((self.name,) if self.name != self.letters else ()), *self.also)

    def metavars(self) -> tuple[str, ...]:
        shown = {"many": "{}...", "rest": "{}...", "optional": "[{}]"}
        return tuple(shown.get(a.takes, "{}").format(a.metavar) for a in self.arguments)

    def arguments_without(self, fields: Collection[str]) -> tuple[Argument, ...]:
        """Its arguments if switches stand for these."""
        return tuple(each for each in self.arguments if each.field not in fields)

    def usage(self) -> str:
        return " ".join(("gproc [switches]", self.letters, *self.metavars()))


MODES: Final = (
    Mode(
        "master",
        "m",
        MasterOptions,
        "Run the master of the tree, on the front end.",
        "It stays in the foreground; Ctrl-C stops the whole tree.",
    ),
    Mode(
        "slave",
        "s",
        SlaveOptions,
        "Run a slave, on every node that should run programs.",
        "It joins its parent, by the locale or by --parent, and ends with the master.",
        also=("worker",),
    ),
    Mode(
        "exec",
        "e",
        ExecOptions,
        "Run a program on nodes.",
        "It is sent with all that it needs; its output and exit status come back. The status is 0 if"
        " every node's was, else the highest; 124 is a timeout, 125 a failure of gproc itself, 126 and 127"
        " a program that cannot be run or found.",
        (
            Argument("nodes", "NODES", 'Where: 1-80, "." (first level), ./. (every node), =1/4-7', offers="nodes"),
            Argument("command", "COMMAND", "The program, with its own arguments and switches", "rest", "command"),
        ),
    ),
    Mode(
        "map",
        "map",
        MapOptions,
        "Run a program once for each line of a list, on whichever node is free.",
        "The list is standard input, a file (-a) or words (COMMAND ::: WORD...). In COMMAND, {} stands for the line,"
        " {.} {/} {//} {/.} for parts of it as a path, {#} for the task's number, {%} for the node's slot; without them"
        " the line follows COMMAND. Each task's output is printed together when it ends. The status is the number of"
        " failed tasks, 101 if they are more than 100, 125 if some were lost.",
        (
            Argument("nodes", "NODES", 'Where: 1-80, "." (first level), ./. (every node), =1/4-7', offers="nodes"),
            Argument("command", "COMMAND", "The program, with its own arguments and switches", "rest", "command"),
        ),
    ),
    Mode(
        "cp",
        "cp",
        CpOptions,
        "Copy files and directories to nodes, for good.",
        "It copies as cp -a on the node would: into DEST if that is a directory, else under that name. SRC/. means"
        " the content of SRC. Each file appears complete or not at all, and is yours; root keeps owners. No symlink"
        " below DEST is followed. Files that are there already are neither sent nor written again.",
        (
            Argument(
                "words",
                "SRC... NODES:DEST",
                "What to copy, and where: 1-80:/opt/data, ./.:/etc/motd",
                "list",
                "source or node path",
            ),
        ),
    ),
    Mode(
        "get",
        "get",
        GetOptions,
        "Copy files and directories from nodes.",
        "What node 1/7 has at SRC comes into DIR/1.7, with modes and times, for root with owners; set-id bits are"
        " left out.",
        (
            Argument(
                "source",
                "NODES:SRC",
                "What to copy, and from where: 1-80:/var/log, ./.:/etc/fstab",
                offers="node path",
            ),
            Argument("directory", "DIR", "The directory to copy into; made if it is missing", offers="directory"),
        ),
    ),
    Mode(
        "info",
        "i",
        InfoOptions,
        "Show the tree, all levels.",
        "Each node with its path, host, address, state, jobs and load, those too that were there and are not, and why."
        " More than 40 nodes are summed up first; without NODES a terminal shows only those of them that are not up.",
        (Argument("nodes", "NODES", "Which; all if left out", "optional", "nodes"),),
    ),
    Mode(
        "top",
        "top",
        TopOptions,
        "Show the tree and its jobs on a whole terminal.",
        "Enter shows a node, or a job and its output, which can be ended there. It needs the extra top:"
        " pip install 'gproc[top]'.",
    ),
    Mode(
        "web",
        "web",
        WebOptions,
        "Show the tree and its jobs as a web page.",
        "It prints an address with a token, which lets a browser in. /metrics has figures for Prometheus. It needs the"
        " extra web: pip install 'gproc[web]'.",
    ),
    Mode(
        "ps",
        "ps",
        PsOptions,
        "Show jobs: those that run, or with -a all of which there are records.",
        "Each with its number, name, user, nodes, state, when it began, and its command. Root and the user who runs"
        " the master see the jobs of all users.",
    ),
    Mode(
        "logs",
        "logs",
        LogsOptions,
        "Show what a job has written, as far as it is kept.",
        "It is kept of jobs that were begun with --detach, --spool or --on-disconnect=detach, and of others once their"
        " client has left them. JOB is a number, a name, or 'last'.",
        (
            Argument("job", "JOB", "Which job: 12, night, last", offers="job"),
            Argument("nodes", "NODES", "Only what these nodes wrote", "optional", "nodes"),
        ),
    ),
    Mode(
        "attach",
        "attach",
        AttachOptions,
        "Go back to a job that runs: its output from now on, its input, Ctrl-C.",
        "Ctrl-P Ctrl-Q leaves it again, and it goes on; so it does if the terminal is lost. Only one client at a time"
        " gives a job its input. The status is the job's, 0 if it was left.",
        (Argument("job", "JOB", "Which job: 12, night, last", offers="running job"),),
    ),
    Mode(
        "wait",
        "wait",
        WaitOptions,
        "Wait for the end of a job.",
        "It ends with the job's status, and says what failed, as gproc e does. A job that has ended is not waited for.",
        (Argument("job", "JOB", "Which job: 12, night, last", offers="running job"),),
    ),
    Mode(
        "kill",
        "kill",
        KillOptions,
        "Send a signal to all processes of a job.",
        "Without -s it is SIGTERM.",
        (
            Argument("job", "JOB", "Which job: 12, night, last", offers="running job"),
            Argument("nodes", "NODES", "Only on these nodes", "optional", "nodes"),
        ),
    ),
    Mode(
        "stacks",
        "stacks",
        StacksOptions,
        "Show where the processes of a job are, and which nodes are elsewhere than the others.",
        "What each thread does, in which function of the kernel it waits, and in which of its program: of Python by"
        " py-spy, if the node has it, of others by gdb with --gdb. Nodes at the same place are shown once.",
        (
            Argument("job", "JOB", "Which job: 12, night, last", offers="running job"),
            Argument("nodes", "NODES", "Only on these nodes", "optional", "nodes"),
        ),
    ),
    Mode(
        "rm",
        "rm",
        RmOptions,
        "Remove the records of jobs that have ended, and their output.",
        "",
        (Argument("jobs", "JOB", "Which jobs: 12, night, last", "many", "job"),),
    ),
    Mode(
        "bundle",
        "bundle",
        BundleOptions,
        "Show what would be sent for a program, and why.",
        "Nothing is sent; with --tar it is written to a file. With --trace the command runs here once, and what it"
        " opens is in its bundles from then on.",
        (Argument("command", "COMMAND", "The program, with its own arguments and switches", "rest", "command"),),
    ),
    Mode(
        "cert",
        "cert",
        CertOptions,
        "Make the keys and certificates that nodes need.",
        "With them a node can join this cluster; scripts/copytonodes.sh copies them.",
        (Argument("names", "NAME", "A node's host name", "many"),),
    ),
    Mode(
        "key",
        "key",
        KeyOptions,
        "Issue, list and revoke certificates, and keep the cluster's keys safe.",
        "issue HOST... writes for each host a file with all that its slave needs; it belongs at"
        " ~/.config/gproc/node.keys there. list shows what was issued. revoke NAME|SERIAL... takes hosts out of the"
        " running tree, and out of all later ones. backup FILE writes the cluster's keys, sealed by a passphrase;"
        " restore FILE brings them back. rotate makes new keys, which the tree learns; rotate finish ends the old.",
        (Argument("words", "WORDS", "issue HOST..., list, revoke NAME..., backup FILE, restore FILE, rotate", "list"),),
    ),
    Mode(
        "start",
        "start",
        StartOptions,
        "Start a tree over ssh, on hosts that need nothing but sshd.",
        "Hosts are those of -w, those of the locale from -l to -h, or the former ones. A master is started in the"
        " background if none runs; each host is sent gproc, Python and its keys, and nothing that it has already."
        " Twice is harmless. The status is 1 if a host failed. (Here -h is a number; help is --help.)",
        (Argument("level", "LEVEL", "Only nodes of this level of the tree: 1, 2, ...", "optional"),),
    ),
    Mode(
        "stop",
        "stop",
        StopOptions,
        "Stop the master and the whole tree, or some nodes.",
        "Without NODES the master ends, and every slave with it. With NODES, the slaves that gproc start started there"
        " end, over ssh.",
        (Argument("nodes", "NODES", "Which slaves: 1-80, ./., =1/4-7", "optional", "nodes"),),
    ),
    Mode(
        "restart",
        "restart",
        RestartOptions,
        "Start slaves again, over ssh.",
        "Those that gproc start started at these places end, with their jobs, and are started again.",
        (Argument("nodes", "NODES", "Which slaves: 1-80, ./., =1/4-7", offers="nodes"),),
    ),
    Mode(
        "upgrade",
        "upgrade",
        UpgradeOptions,
        "Start slaves of another version again with this one, over ssh, idle nodes first.",
        "Of those that gproc start has started. They take no new jobs meanwhile; a node on which jobs run is waited"
        " for. The master is not changed. The status is 1 if a node failed or was still busy when --timeout was over.",
        (Argument("nodes", "NODES", "Which slaves: 1-80, kn[1-20], ./.", "optional", "nodes"),),
    ),
    Mode(
        "remove",
        "remove",
        RemoveOptions,
        "Stop slaves, over ssh, leave nothing of gproc on their hosts, and forget these.",
        "The slaves that gproc start started there end, with their jobs. The runtime, the store and the helper go,"
        " unless this user has another slave or a master there. A host that cannot be reached stays known, unless"
        " --forget is given. The status is 1 if a host failed.",
        (Argument("nodes", "NODES", "Which hosts: 1-80, kn[1-20], ./.", offers="nodes"),),
    ),
    Mode(
        "drain",
        "drain",
        DrainOptions,
        "Keep new jobs from nodes; jobs that run there go on.",
        '"." and groups mean all nodes but these from now on, and a job that names one of them is refused. It holds'
        " until --resume, over restarts of the master and of the slave. Without NODES it shows which nodes are drained."
        " Only root, the user who runs the master, and users whom the policy allows may do this.",
        (Argument("nodes", "NODES", "Which nodes: 1-80, ./., =1/4-7", "optional", "nodes"),),
    ),
    Mode(
        "runtime",
        "runtime",
        RuntimeOptions,
        "Show what a node without gproc and Python is sent.",
        "It is this Python with the modules and libraries of a slave, and is made and kept when it is first asked for."
        " With --tar it is written to a file. With --out, what copytonodes.sh copies is written to a directory.",
    ),
    Mode(
        "store",
        "store",
        StoreOptions,
        "Show the bundles that this machine keeps.",
        "With --prune, the least recently used bundles are removed. Bundles of running jobs stay.",
    ),
    Mode(
        "config",
        "config",
        ConfigOptions,
        "Show the defaults of switches, and which file sets each.",
        "A site's file is /etc/gproc/config.toml, a user's is config.toml in $GPROC_HOME or ~/.config/gproc. Both"
        " have a section [common] and one for each mode, with switches in their GNU spelling: [e] timeout = 90. The"
        " user's file prevails over the site's, a mode's section over [common], and the command line over all.",
    ),
    Mode(
        "policy",
        "policy",
        PolicyOptions,
        "Check a policy: who may run what on which nodes.",
        "The word is 'check'. Without FILE it is /etc/gproc/policy.toml, which master and slaves of root obey. They"
        " read it again when it changes; while it cannot be used, they run no job.",
        (
            Argument("what", "check", "What to do: check the file."),
            Argument("file", "FILE", "The policy.", "optional", offers="file"),
        ),
    ),
)


def mode_named(name: str) -> Mode | None:
    for mode in MODES:
        if name in mode.names():
            return mode
    return None
