"""Programs that run the program that their words name, and interpreters that run a script.  Pure.

Sources: the manual pages of GNU coreutils, util-linux and findutils; POSIX XCU 2.9 for lines of shell.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator
from typing import Final

import msgspec


class Prefix(msgspec.Struct, frozen=True):
    """How one of these reads its words: options with a value, and operands that come before the program."""

    with_value: tuple[str, ...] = ()
    operands: int = 0


PREFIXES: Final = {
    "env": Prefix(("-u", "--unset", "-C", "--chdir", "-a", "--argv0")),
    "timeout": Prefix(("-k", "--kill-after", "-s", "--signal"), 1),
    "nice": Prefix(("-n", "--adjustment")),
    "nohup": Prefix(),
    "stdbuf": Prefix(("-i", "--input", "-o", "--output", "-e", "--error")),
    "setsid": Prefix(),
    "time": Prefix(("-f", "--format", "-o", "--output")),
    "taskset": Prefix((), 1),
    "chrt": Prefix(("-T", "-P", "-D"), 1),
    "ionice": Prefix(("-c", "--class", "-n", "--classdata")),
    "setarch": Prefix((), 1),
    "linux64": Prefix(),
    "linux32": Prefix(),
    "prlimit": Prefix(),
    "numactl": Prefix(
        ("-i", "-N", "-m", "-C", "-p", "--interleave", "--cpunodebind", "--membind", "--physcpubind", "--preferred")
    ),
    "setpriv": Prefix(("--reuid", "--regid", "--groups", "--inh-caps", "--bounding-set")),
    "unshare": Prefix(),
    "flock": Prefix(("-w", "--timeout", "-E", "--conflict-exit-code"), 1),
    "xargs": Prefix(
        ("-n", "--max-args", "-P", "--max-procs", "-I", "-d", "--delimiter", "-L", "-s", "-a", "--arg-file", "-E")
    ),
    "strace": Prefix(("-e", "-o", "-p", "-s", "-u", "-E", "-P", "-O", "-S", "-I", "-X", "-a", "-b")),
    "ltrace": Prefix(("-e", "-o", "-p", "-s", "-u", "-l", "-n", "-x", "-a", "-F")),
    "valgrind": Prefix(),
    "catchsegv": Prefix(),
    "fakeroot": Prefix(("-l", "--lib", "--faked", "-s", "-i", "-b")),
    "mpiexec": Prefix(("-n", "-np", "-ppn", "-hosts", "-f", "-wdir", "-genv", "-machinefile", "--hostfile", "-host")),
    "gdb": Prefix(),
    "mpirun": Prefix(("-n", "-np", "-ppn", "-hosts", "-f", "-wdir", "-machinefile", "--hostfile", "-host", "-x")),
    "exec": Prefix(("-a",)),
    "command": Prefix(),
    "watch": Prefix(("-n", "--interval")),
    "perf": Prefix(("-e", "-o", "-F", "-x", "-r", "-C", "-p", "-g", "--event", "--output"), 1),
    "parallel": Prefix(("-j", "--jobs", "-a", "--arg-file", "-n", "-N", "-I", "--joblog", "--colsep", "-d", "-S")),
    "faketime": Prefix((), 1),
    "chronic": Prefix(),
    "unbuffer": Prefix(),
    "xvfb-run": Prefix(("-s", "-n", "-e", "-f", "-p", "-w")),
    "time.real": Prefix(),
}
"""Long options that say their value after `=` need no entry."""

SHELLS: Final = frozenset({"sh", "bash", "dash", "ksh", "mksh", "zsh", "ash", "fish"})

_MPI: Final = re.compile(r"(mpiexec|mpirun)(?:\.\w+)?")
"""`mpiexec.mpich`: Debian has several side by side."""

_BUILTIN_WORDS: Final = """
    echo cd test [ [[ printf true false read export set unset exit return . : eval shift trap umask wait type pwd kill
    times ulimit alias hash getopts local source if then else elif fi for do done while until case esac in { } ! let
    function declare typeset readonly break continue pushd popd shopt autoload zmodload print jobs fg bg"""
_BUILTIN: Final = frozenset(_BUILTIN_WORDS.split())
_ASKS: Final = ("type", "hash", "which")
"""What asks whether there is a program: a script that asks for one runs it."""

_BEFORE_COMMANDS: Final = frozenset({"if", "then", "else", "elif", "do", "while", "until", "!", "{"})
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*\+?=.*", re.DOTALL)
_NUMBERED: Final = re.compile(r"-\d+")
_OPERATORS: Final = re.compile(r"[();|&\n<>]*[();|&\n][();|\n<>]*|[<>]+&?|\d[<>].*")
_REDIRECTION: Final = re.compile(r"[<>]+&?|&>+|\d[<>].*")
_SUBSTITUTION: Final = re.compile(r"[$<>]\(([^()]{1,2000})\)|`([^`]{1,2000})`")
_LINE_CHARACTERS_MAX: Final = 1 << 16

_INTERPRETERS: Final = (
    (re.compile(r"python(\d+(\.\d+)?t?)?|pypy\d*"), "python"),
    (re.compile(r"perl(5[\d.]*)?"), "perl"),
    (re.compile(r"ruby([\d.]*)?"), "ruby"),
    (re.compile(r"node(js)?"), "node"),
    (re.compile(r"Rscript"), "R"),
    (re.compile(r"lua([\d.]*|jit)"), "lua"),
    (re.compile(r"tclsh([\d.]*)|wish([\d.]*)"), "tcl"),
    (re.compile(r"php([\d.]*)"), "php"),
    (re.compile(r"java"), "java"),
    (re.compile(r"guile([\d.-]*)"), "guile"),
    (re.compile(r"(ba|da|mk|z|k|a|fi)?sh[\d.-]*|ksh\w*"), "sh"),
    (re.compile(r"m4"), "m4"),
    (re.compile(r"[gmn]?awk"), "awk"),
    (re.compile(r"g?make"), "make"),
    (re.compile(r"octave(-cli)?"), "octave"),
    (re.compile(r"swipl"), "prolog"),
    (re.compile(r"ninja(-build)?"), "ninja"),
)

_TAKE_VALUE: Final = {
    "python": ("-W", "-X", "--check-hash-based-pycs"),
    "perl": (),
    "ruby": ("-I", "-r", "-C", "-E", "-W"),
    "node": ("-r", "--require", "--import", "-C"),
    "lua": ("-l",),
    "php": ("-d", "-c", "-z"),
    "guile": ("-L", "-l"),
    "awk": ("-v", "-F", "--assign", "--field-separator"),
    "octave": ("-p", "--path"),
    "prolog": ("-g", "-t", "-x", "-p"),
    "java": ("-cp", "-classpath", "--class-path", "-p", "--module-path", "-m", "--add-modules"),
    "sh": ("-o", "+o", "-O", "+O", "--rcfile", "--init-file"),
}

_CODE_OF_SHELL: Final = re.compile(r"-[a-z]*c[a-z]*")

_TAKE_CODE: Final = {
    "python": ("-c",), "perl": ("-e", "-E"), "ruby": ("-e",), "node": ("-e", "-p", "--eval", "--print"), "R": ("-e",),
    "lua": ("-e",), "php": ("-r",), "guile": ("-c",), "octave": ("--eval",),
}  # fmt: skip


_MODULE: Final = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
"""`python -m unittest tests.test_a`"""


def interpreter(name: str) -> str:
    """The language of an interpreter with this name; "" if it is none known here."""
    return next((language for pattern, language in _INTERPRETERS if pattern.fullmatch(name)), "")


def script(words: list[str], language: str) -> tuple[str, str]:
    """The script that an interpreter's words name, or the text that it runs instead, with what it loads first."""
    if language == "awk":
        return _awk_program(words)
    loaded: list[str] = []
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            return (words[index + 1] if index + 1 < len(words) else ""), "\n".join(loaded)
        if not word.startswith("-") or word == "-":
            return ("" if word == "-" else word), "\n".join(loaded)
        value = words[index + 1] if index + 1 < len(words) else ""
        if language == "python" and word.startswith("-m"):
            modules = [word[2:] or value, *(each.partition(":")[0] for each in words[index + 2 :])]
            return "", "\n".join(f"import {each}" for each in modules if _MODULE.fullmatch(each))
        if language == "java" and word == "-jar":
            return value, ""
        if language == "perl" and word.startswith("-M"):
            loaded.append(f"use {word[2:].partition('=')[0]};")
        if language == "ruby" and word.startswith("-r") and len(word) > 2:
            loaded.append(f"require '{word[2:]}'")
        if word in _TAKE_CODE.get(language, ()) or (language == "sh" and _CODE_OF_SHELL.fullmatch(word)):
            return "", "\n".join((*loaded, value))
        index += 2 if word in _TAKE_VALUE.get(language, ()) else 1
    return "", "\n".join(loaded)


def env_directory(words: list[str]) -> str:
    """Where env(1) starts its program, as `-C` says; "" for the working directory."""
    index = 1
    while index < len(words):
        word = words[index]
        if word in ("-C", "--chdir"):
            return words[index + 1] if index + 1 < len(words) else ""
        if word.startswith(("--chdir=", "-C")):
            return word.removeprefix("--chdir=").removeprefix("-C")
        if not word.startswith("-") and "=" not in word:
            break  # the program
        index += 2 if word in PREFIXES["env"].with_value else 1
    return ""


def makefiles(words: list[str], language: str = "make") -> list[str]:
    """The files that make(1) or ninja(1) looks for, in this order.  words: without its name."""
    directory, named = "", ""
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        following = words[index + 1] if index + 1 < len(words) else ""
        if option in ("-C", "--directory"):
            directory = posixpath.join(directory, value if equals else following)
        elif option in ("-f", "--file", "--makefile"):
            named = value if equals else following
    own = ("build.ninja",) if language == "ninja" else ("GNUmakefile", "makefile", "Makefile")
    return [posixpath.join(directory, name) for name in ([named] if named else own)]


def _awk_program(words: list[str]) -> tuple[str, str]:
    """The file of -f, or the text of the program."""
    index = 0
    while index < len(words):
        word = words[index]
        following = words[index + 1] if index + 1 < len(words) else ""
        if word in ("-f", "--file"):
            return following, ""
        if word == "--":
            return "", following
        if not word.startswith("-"):
            return "", word
        index += 2 if word in _TAKE_VALUE["awk"] else 1
    return "", ""


def commands(words: list[str]) -> Iterator[list[str]]:
    """The commands that this one runs itself, each as its words."""
    name = words[0].rpartition("/")[2]
    if name in SHELLS:
        line = _shell_line(words[1:])
        yield from in_shell_line(line)
        for match in _SUBSTITUTION.finditer(line[:_LINE_CHARACTERS_MAX]):
            yield from in_shell_line(match[1] or match[2] or "")
        return
    if name == "tar":
        yield from _compressors(words[1:])
        return
    if name == "find":
        yield from _executed_by_find(words[1:])
        return
    if name == "gdb":
        words = ["gdb", *words[words.index("--args") + 1 :]] if "--args" in words else words[:1]
    launcher = _MPI.fullmatch(name)
    prefix = PREFIXES.get(launcher[1] if launcher is not None else name)
    if prefix is None:
        return
    for part in _split_at(words[1:], ":") if launcher is not None else (words[1:],):
        inner = _after(part, prefix, name)
        if inner and inner[0] not in _BUILTIN:
            yield inner


def _split_at(words: list[str], separator: str) -> Iterator[list[str]]:
    """`mpiexec -n 1 master : -n 7 worker`"""
    while separator in words:
        at = words.index(separator)
        yield words[:at]
        words = words[at + 1 :]
    yield words


def in_shell_line(line: str) -> Iterator[list[str]]:
    """The simple commands of a line of shell, as far as their words are plain."""
    lexer = shlex.shlex(line[:_LINE_CHARACTERS_MAX], posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    try:
        for word in lexer:
            if _OPERATORS.fullmatch(word):
                if not _REDIRECTION.fullmatch(word):
                    yield from _simple(words)
                    words = []
            else:
                words.append(word)
    except ValueError:
        return  # an open quotation, for example of a here-document
    yield from _simple(words)


def is_builtin(name: str) -> bool:
    return name in _BUILTIN


_COMPRESSORS: Final = {
    "gzip": (".gz", ".tgz", "-z"), "xz": (".xz", ".txz", "-J"), "bzip2": (".bz2", ".tbz", "-j"),
    "zstd": (".zst", ".tzst", "--zstd"), "lzip": (".lz", "--lzip"),
}  # fmt: skip


_CLUSTER: Final = re.compile(r"-?[A-Za-z]+")
"""tar's first word, with or without its dash: `tar xzf`."""


def _executed_by_find(words: list[str]) -> Iterator[list[str]]:
    for index, word in enumerate(words):
        if word in ("-exec", "-execdir", "-ok", "-okdir") and index + 1 < len(words):
            rest = words[index + 1 :]
            yield rest[: next((at for at, each in enumerate(rest) if each in (";", "+")), len(rest))]


def _compressors(words: list[str]) -> Iterator[list[str]]:
    """What tar has the archives read and written by: tar(1)."""
    letters = {"gzip": "z", "xz": "J", "bzip2": "j"}
    cluster = words[0].removeprefix("-") if words and _CLUSTER.fullmatch(words[0]) else ""
    for program, signs in _COMPRESSORS.items():
        ends = tuple(each for each in signs if each[0] == ".")
        named = any(word in signs or word.endswith(ends) for word in words)
        if named or letters.get(program, "-") in cluster:
            yield [program]


def _simple(words: list[str]) -> Iterator[list[str]]:
    while words and (_ASSIGNMENT.fullmatch(words[0]) or words[0] in _BEFORE_COMMANDS):
        words = words[1:]
    if words and words[0] in _ASKS:
        yield from ([each] for each in words[1:] if not each.startswith("-") and "$" not in each)
    if words and words[0] not in _BUILTIN and not any(character in words[0] for character in "$`*?"):
        yield words


def _shell_line(words: list[str]) -> str:
    """The text after -c, if there is one."""
    for index, word in enumerate(words):
        if word.startswith("-") and not word.startswith("--") and "c" in word[1:]:
            return words[index + 1] if index + 1 < len(words) else ""
        if not word.startswith(("-", "+")):
            return ""
    return ""


def _after(words: list[str], prefix: Prefix, name: str) -> list[str]:
    index, operands = 0, prefix.operands
    while index < len(words):
        word = words[index]
        if word == "--":
            index += 1
            break
        if name == "env" and _ASSIGNMENT.fullmatch(word):
            index += 1
        elif name == "env" and word in ("-S", "--split-string"):
            return _after(_split(words[index + 1 :]), prefix, name)
        elif name == "taskset" and word in ("-c", "--cpu-list"):
            index += 1
        elif word.startswith("-") and word != "-":
            index += 2 if word in prefix.with_value and not _NUMBERED.fullmatch(word) else 1
        else:
            break
    rest = words[index:]
    if name == "env":
        while rest and _ASSIGNMENT.fullmatch(rest[0]):
            rest = rest[1:]
    return rest[operands:]


def _split(words: list[str]) -> list[str]:
    try:
        return [*shlex.split(words[0]), *words[1:]] if words else []
    except ValueError:
        return []
