"""The switches of gproc, as a table; docs/reference.md explains them.

With `gproc.cli.modes` it is the grammar of the command line: the parser, the help pages, shell completion and
the error messages read these two tables and nothing else.
"""

from __future__ import annotations

from typing import Final

from gproc.cli.job_switches import JOB_SWITCHES
from gproc.cli.kinds import (
    ABSOLUTE_PATH,
    ELEMENTS,
    FLAG,
    SECONDS,
    SIZE,
    SIZE_OR_NONE,
    TEXT,
    whole,
)
from gproc.cli.modes import Mode
from gproc.cli.run_switches import RUN_SWITCHES
from gproc.cli.switch import Switch

_ALL_MODES: Final = (
    "m", "s", "e", "cp", "get", "i", "ps", "logs", "attach", "wait", "kill", "rm", "bundle", "cert", "key", "start",
    "stop", "restart", "runtime", "store", "config", "policy", "top", "web",
)  # fmt: skip

_OF_A_MASTER: Final = (
    "m", "e", "cp", "get", "i", "ps", "logs", "attach", "wait", "kill", "rm", "start", "stop", "restart", "top", "web",
)  # fmt: skip

SWITCHES: Final = (
    Switch("local_bin", ("e",), FLAG, "Run each node's own program.", "local-bin", go="localbin"),
    Switch(
        "private",
        ("s",),
        FLAG,
        "Each job has a private file system and process view, gone with the job.",
        "private",
        go="p",
        negative="no-private",
    ),
    Switch(
        "files",
        ("e", "bundle"),
        ELEMENTS,
        "Files and directories to send along (dir/. is the directory alone). Comma-separated, repeatable.",
        "files",
        go="f",
        metavar="LIST",
        offers="file",
    ),
    Switch(
        "with_package",
        ("e", "bundle"),
        FLAG,
        "What the program's Debian package installs, and what that depends on, goes along.",
        "with-package",
    ),
    Switch(
        "trace",
        ("e", "bundle"),
        FLAG,
        "Run the command here once first: what it opens goes along, now and later; --no-trace: nothing of that.",
        "trace",
        negative="no-trace",
    ),
    Switch(
        "no_words", ("e",), FLAG, "The command's words bring no files along, and no programs that it runs.", "no-words"
    ),
    Switch(
        "cwd",
        ("e",),
        TEXT,
        "Start in this directory of the node, for real. [default: a private one at this one's path]",
        "cwd",
        metavar="DIR",
        offers="directory",
    ),
    Switch(
        "bin_root",
        ("m", "s", "e", "start", "restart"),
        ABSOLUTE_PATH,
        "Where on a node programs and files are laid out.",
        "bin-root",
        go="binRoot",
        metavar="DIR",
        offers="directory",
    ),
    Switch(
        "socket",
        _OF_A_MASTER,
        TEXT,
        "The master's Unix socket.",
        "socket",
        go="defaultMasterUDS",
        metavar="PATH",
        offers="file",
    ),
    Switch(
        "locale",
        ("m", "s", "start"),
        TEXT,
        "The shape of the cluster: local, kane, kf, strongbox, etchosts, or a TOML file.",
        "locale",
        go="locale",
        metavar="NAME",
        offers="locale",
    ),
    Switch(
        "cmd_port",
        ("m", "s", "start", "restart"),
        whole(0, 65535),
        "The port that children connect to; 0 is any free one.",
        "cmd-port",
        go="cmdport",
        metavar="PORT",
    ),
    Switch(
        "root",
        ("e", "bundle"),
        ABSOLUTE_PATH,
        "Take the program and its libraries from the system under this directory.",
        "root",
        go="r",
        metavar="DIR",
        offers="directory",
    ),
    Switch(
        "library_path",
        ("e", "bundle"),
        ELEMENTS,
        "Search these directories before the default ones. Comma-separated, repeatable.",
        "library-path",
        go="L",
        metavar="LIST",
        offers="directory",
    ),
    Switch(
        "parent",
        ("s",),
        TEXT,
        "The parent: HOST, HOST:PORT, or a postfix expression. [default: by the locale]",
        "parent",
        go="myParent",
        metavar="HOST",
    ),
    Switch(
        "id",
        ("s",),
        TEXT,
        "The number below the parent, or a postfix expression. [default: by the locale]",
        "id",
        go="myId",
        metavar="NUMBER",
    ),
    Switch(
        "address",
        ("m", "s", "start", "restart"),
        TEXT,
        "The address that children connect to. [default: by the locale]",
        "address",
        go="myAddress",
        metavar="ADDRESS",
    ),
    Switch(
        "store",
        ("m", "s", "store"),
        TEXT,
        "The directory that keeps received files for the next time. [default: chosen]",
        "store",
        metavar="DIR",
        offers="directory",
    ),
    Switch(
        "store_bytes",
        ("m", "s"),
        SIZE,
        "How much the store keeps when no job uses it: 500M, 8G. [default: 4G, or less on a small or full disk]",
        "store-size",
        metavar="BYTES",
    ),
    Switch(
        "prune_bytes",
        ("store",),
        SIZE_OR_NONE,
        "Remove bundles until each store keeps no more than this.",
        "prune",
        metavar="BYTES",
    ),
    Switch(
        "state",
        ("m",),
        ABSOLUTE_PATH,
        "The directory that keeps the records of jobs. [default: chosen]",
        "state",
        metavar="DIR",
        offers="directory",
    ),
    Switch(
        "link_timeout_s",
        ("m", "s"),
        SECONDS,
        "A neighbour that is silent for this long is lost.",
        "link-timeout",
        metavar="SECONDS",
    ),
    Switch(
        "orphan_timeout_s",
        ("m",),
        SECONDS,
        "A node that cannot be reached for this long ends its programs, and they are lost.",
        "orphan-timeout",
        metavar="SECONDS",
    ),
    Switch(
        "exclude",
        ("e", "cp", "get"),
        TEXT,
        "Leave these nodes out.",
        "exclude",
        short="x",
        metavar="NODES",
        offers="nodes",
    ),
    *RUN_SWITCHES,
    *JOB_SWITCHES,
    Switch(
        "timeout_s",
        ("e", "cp", "get"),
        SECONDS,
        "End it everywhere after this time. The exit status is then 124.",
        "timeout",
        metavar="SECONDS",
    ),
    Switch("all", ("ps",), FLAG, "Show the jobs that have ended too.", "all", short="a"),
    Switch("json_progress", ("e", "cp"), FLAG, "Report a long transfer in lines of JSON on stderr.", "json-progress"),
    Switch(
        "hosts",
        ("start",),
        TEXT,
        "The hosts, as ssh knows them: node[01-20],login1.",
        "hosts",
        short="w",
        metavar="HOSTS",
    ),
    Switch("low", ("start",), whole(1, 10**9), "The locale's first node.", "low", short="l", metavar="NUMBER"),
    Switch("high", ("start",), whole(1, 10**9), "The locale's last node.", "high", short="h", metavar="NUMBER"),
    Switch("failed", ("start",), FLAG, "Those of before that are not in the tree.", "failed"),
    Switch(
        "fanout",
        ("start",),
        whole(1, 1000),
        "Without a locale: how many children a node has at most.",
        "fanout",
        metavar="NUMBER",
    ),
    Switch(
        "parallel",
        ("start", "stop", "restart"),
        whole(1, 1000),
        "How many logins there are at a time.",
        "parallel",
        metavar="NUMBER",
    ),
    Switch(
        "connect_timeout_s",
        ("start", "stop", "restart"),
        SECONDS,
        "A host that has not let us in for this long has failed.",
        "connect-timeout",
        metavar="SECONDS",
    ),
    Switch(
        "accept_new_host_keys",
        ("start", "stop", "restart"),
        FLAG,
        "Take the key of a host that known_hosts does not have, and note it there.",
        "accept-new-host-keys",
    ),
    Switch(
        "ssh_command",
        ("start", "stop", "restart"),
        TEXT,
        'Run this, with the host and a command line behind it, instead of gproc\'s own ssh: "ssh -p 2222".',
        "ssh-command",
        metavar="COMMAND",
    ),
    Switch("foreground", ("start",), FLAG, "The master stays in the foreground; Ctrl-C ends the tree.", "foreground"),
    Switch(
        "listen",
        ("web",),
        TEXT,
        "Serve there: HOST:PORT, or the path of a Unix socket. Not on loopback, it is by TLS.",
        "listen",
        metavar="ADDRESS",
    ),
    Switch(
        "token_file",
        ("web",),
        TEXT,
        "Keep the token in this file, so that it stays the same. [default: a new one each time]",
        "token-file",
        metavar="FILE",
        offers="file",
    ),
    Switch("control", ("web",), FLAG, "Jobs can be ended from the page.", "control"),
    Switch("watch", ("i",), FLAG, "Show it every two seconds, until Ctrl-C.", "watch"),
    Switch(
        "json",
        ("i", "ps", "bundle", "key", "start", "stop", "restart", "runtime", "store", "config"),
        FLAG,
        "Print JSON for programs instead of a table.",
        "json",
    ),
    Switch("log_json", ("m", "s"), FLAG, "Log in lines of JSON.", "log-json"),
    Switch("tar", ("bundle", "runtime"), TEXT, "Write the archive to this file.", "tar", metavar="FILE", offers="file"),
    Switch(
        "out", ("cert",), TEXT, "Where to make a directory for each node.", "out", metavar="DIR", offers="directory"
    ),
    Switch(
        "out",
        ("key",),
        TEXT,
        "Write the keys of one host to this file; - is stdout.",
        "out",
        short="o",
        metavar="FILE",
        offers="file",
    ),
    Switch(
        "passphrase_file",
        ("key",),
        TEXT,
        "The file that has the passphrase of a backup. [default: the terminal is asked]",
        "passphrase-file",
        metavar="FILE",
        offers="file",
    ),
    Switch(
        "addresses",
        ("cert", "key"),
        ELEMENTS,
        "IP addresses that the certificate is also valid for. Only with one NAME. Comma-separated, repeatable.",
        "address",
        metavar="LIST",
    ),
    Switch(
        "debug",
        _ALL_MODES,
        whole(0, 10),
        "How much to say of what happens, from 0 to 10.",
        "debug",
        go="debug",
        metavar="LEVEL",
    ),
)


def switches_named(name: str) -> tuple[Switch, ...]:
    """The switches with this spelling.  If there are several, no mode takes two of them."""
    return tuple(switch for switch in SWITCHES if name in switch.spellings())


def switches_of(mode: Mode) -> tuple[Switch, ...]:
    return tuple(switch for switch in SWITCHES if mode.letters in switch.modes)
