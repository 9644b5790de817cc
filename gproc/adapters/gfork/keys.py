"""The keys of gfork's configuration: in a file and, with a dash or two before them, on the command line.  Pure."""

from __future__ import annotations

from difflib import get_close_matches
from enum import Enum
from typing import Final

import msgspec


class Kind(Enum):
    """What a key's value is, and what a second line with the same key does."""

    TEXT = "text"  # the last line counts
    WORDS = "words"  # all lines count
    FLAG = "flag"  # on the command line, without a value
    IGNORED = "ignored"  # a key of xinetd that changes nothing here


class Key(msgspec.Struct, frozen=True):
    """name: as in the file.  short: another spelling.  metavar: its value in the help."""

    name: str
    short: str | None
    kind: Kind
    metavar: str
    help: str


KEYS: Final = (
    Key("config_file", "c", Kind.TEXT, "FILE", "the configuration (default: /etc/gfork.conf)"),
    Key("server", "s", Kind.TEXT, "PATH", "the program that serves a connection"),
    Key("server_args", "sa", Kind.WORDS, "WORDS", "its arguments"),
    Key("port", "p", Kind.TEXT, "PORT", "where to listen; a name of /etc/services, or 0 for any free port"),
    Key("bind", "b", Kind.TEXT, "ADDRESS", "the address to listen at (default: all, IPv4 and IPv6)"),
    Key("interface", None, Kind.TEXT, "ADDRESS", "the same as bind"),
    Key("instances", "inst", Kind.TEXT, "N", "how many connections are served at once, or UNLIMITED (default: 100)"),
    Key("instance", None, Kind.TEXT, "N", "the same as instances"),
    Key("per_source", None, Kind.TEXT, "N", "how many of them from one address, or UNLIMITED (the default)"),
    Key("crowded", "C", Kind.TEXT, "TEXT", "what a client is told if there are too many (default: 421 Too busy!)"),
    Key("only_from", None, Kind.WORDS, "ADDRESSES", "the clients that are served: addresses or networks"),
    Key("no_access", None, Kind.WORDS, "ADDRESSES", "the clients that are not"),
    Key("user", None, Kind.TEXT, "USER", "the user of the server (default: that of gfork)"),
    Key("group", None, Kind.TEXT, "GROUP", "its group (default: the user's)"),
    Key("groups", None, Kind.TEXT, "yes|no", "whether it has the user's other groups too (default: no)"),
    Key("umask", None, Kind.TEXT, "OCTAL", "its umask (default: that of gfork)"),
    Key("nice", "n", Kind.TEXT, "N", "its priority, -20 to 19"),
    Key("env", "e", Kind.WORDS, "NAME=VALUE...", "environment of server and master; nothing else but kept variables"),
    Key("passenv", None, Kind.WORDS, "NAMES", "variables of gfork that they have too"),
    Key("master", "m", Kind.TEXT, "PATH", "a master program; each further one begins another master"),
    Key("master_args", "ma", Kind.WORDS, "WORDS", "its arguments"),
    Key("master-uid", "M", Kind.TEXT, "UID", "the user of the master (default: that of gfork)"),
    Key("protocol", "S", Kind.TEXT, "tcp", "tcp is all that there is"),
    Key("socket_type", None, Kind.TEXT, "stream", "stream is all that there is"),
    Key("wait", None, Kind.TEXT, "no", "no is all that there is"),
    Key("disable", None, Kind.TEXT, "yes|no", "whether the service is switched off"),
    Key("id", "I", Kind.TEXT, "NAME", "the service's name in the log"),
    Key("log_level", "L", Kind.TEXT, "0-9", "0: only errors; 1: masters too; 2: connections too (default: 1)"),
    Key("log_file", "f", Kind.TEXT, "PATH", "where the log goes; - is stdout (default: stderr)"),
    Key("quiet", "q", Kind.TEXT, "yes|no", "print and log nothing"),
    Key("backends", None, Kind.TEXT, "NODES", "run the file's second service on these nodes of the gproc tree"),
    Key("local_bin", None, Kind.TEXT, "yes|no", "for backends: the nodes have these programs; send none (default: no)"),
    Key("check", None, Kind.FLAG, "", "read the configuration, say what it means and what is not there, and end"),
    Key("version", "v", Kind.FLAG, "", "print the version, and end"),
    Key("help", "h", Kind.FLAG, "", "print this, and end"),
    *(
        Key(name, None, Kind.IGNORED, "", "")
        for name in ("flags", "type", "log_type", "log_on_success", "log_on_failure")
    ),
)  # fmt: skip

ALIASES: Final = {"interface": "bind", "instance": "instances"}

REFUSED: Final = {
    "access_times": "gfork serves at all times",
    "redirect": "gfork does not forward connections",
}
"""Keys of xinetd that gfork does not have, and that are errors: without them more would be allowed than meant."""

_BY_NAME: Final = {name: key for key in KEYS for name in (key.name, key.short) if name}


def key_called(name: str) -> Key | None:
    return _BY_NAME.get(name)


def suggestion_for(name: str) -> str:
    """"; did you mean NAME?" if a key is called nearly so, else nothing."""
    known = [key.name for key in KEYS if key.kind is not Kind.IGNORED]
    near = get_close_matches(name.replace("-", "_"), known, n=1) or get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
