"""The programs that a script runs, by its text: the first words of a shell's commands, and what calls such as
`subprocess.run` and `system` are given.  Pure.

Nothing is executed.  A word that names no program is ignored, so a text that is not understood does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gproc.bundle.command import prefixes

COMMANDS_MAX: Final = 1000
"""How many commands of one script are looked at."""

_NAME_MAX: Final = 1000

_LINES_MAX: Final = 20_000
"""How many lines of one script are read; each takes some 60 us."""

_LINE_MAX: Final = 10_000
"""Characters of one line: what it takes grows with their square."""

_PAYLOAD: Final = re.compile(r"[A-Za-z0-9+/=]{60,}")
"""A line of what a script that unpacks itself has behind its text: base64, or a dump."""

_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)
_HERE_DOCUMENT: Final = re.compile(r"<<-?[ \t]*[\"'\\]?(\w+)[\"']?")
_SUBSTITUTED: Final = re.compile(r"(?:\$\(|`)\s*([\w./+-]+)")
_SOURCED: Final = re.compile(
    r"(?:^|[;&{]|\b(?:then|else|do)\b)[ \t]*(?:\.|source)[ \t]+([\w.+-]{1,200})[ \t]*(?=$|[;&|)])", re.MULTILINE
)
"""A shell looks for a bare name on PATH: `. gettext.sh`."""

_QUOTE: Final = re.compile("[\"']")
_DEPTH_MAX: Final = 4

_WORD: Final = r"[\w./+-]{1,200}"
_SET: Final = re.compile(
    r"(?:^|[;&{]|\b(?:then|else|do)\b)[ \t]*(?:(?:export|readonly|local)[ \t]+)?([A-Za-z_]\w*)"
    rf"=([\"']?)({_WORD})\2[ \t]*(?:;|$)",
    re.MULTILINE,
)
_LOOP: Final = re.compile(r"\bfor[ \t]+(\w{1,60})[ \t]+in[ \t]+([\w./+-][\w./+ \t-]{0,499})(?=;|\n|$)")
_LOOP_MAX: Final = 20
_RUNS_VALUE: Final = re.compile(
    r"(?:^|[;&|({`]|\b(?:then|do|if|exec|type|hash|which|command[ \t]+-v))[ \t]*\"?\$(?:(\w{1,60})|\{(\w{1,60})\})"
)
"""`for py in python3 python; do command -v $py && exec $py x.py; done`"""

_VALUE: Final = re.compile(rf"\$(?:\{{(\w+)(?::?-({_WORD}))?\}}|(\w+))")


def commands_in(text: str) -> list[list[str]]:
    """The words of simple commands, in the order of the text, those in substitutions last.

    Variables count as far as the text sets them to one word, or says what they are without a value.
    """
    found: list[list[str]] = []
    text = text.partition("\0")[0]  # an archive behind the script, as of makeself
    plain = _COMMENT.sub("", "\n".join(_without_here_documents(text))).replace("\\\n", " ")
    values = {match[1]: match[3] for match in _SET.finditer(plain)}

    def value(match: re.Match[str]) -> str:
        return values.get(match[1] or match[3], match[2] or match[0])

    lines = [line[:_LINE_MAX] for line in plain.splitlines() if not _PAYLOAD.fullmatch(line)]
    loops = {match[1]: match[2].split()[:_LOOP_MAX] for match in _LOOP.finditer(plain)}
    lines = [each for line in lines[:_LINES_MAX] for each in _turns(line, loops)]
    lines = [_VALUE.sub(value, line)[:_LINE_MAX] for line in lines[:_LINES_MAX]]
    for line in lines:
        # A quotation that goes on in the next line: what is before it.
        for words in list(prefixes.in_shell_line(line)) or list(prefixes.in_shell_line(_QUOTE.split(line)[0])):
            found += _with_inner(words, 0)
    found += [[match[1]] for match in _SOURCED.finditer(plain)]
    found += [[match[1]] for match in _SUBSTITUTED.finditer(plain) if not prefixes.is_builtin(match[1])]
    return [words for words in found if len(words[0]) <= _NAME_MAX][:COMMANDS_MAX]


def _turns(line: str, loops: dict[str, list[str]]) -> list[str]:
    """A line in which a loop's variable is a program, once with each of its values."""
    match = _RUNS_VALUE.search(line) if loops else None
    name = match[1] or match[2] if match is not None else ""
    return [re.sub(rf"\$(?:{name}\b|\{{{name}\}})", value, line) for value in loops[name]] if name in loops else [line]


def _without_here_documents(text: str) -> Iterator[str]:
    """The lines of a shell's text, without those that are input of a command (here-documents): in one pass, even if one
    is not closed."""
    lines = text.split("\n")
    last = {line.strip(" \t"): number for number, line in enumerate(lines)}
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        begun = _HERE_DOCUMENT.search(line)
        if begun is not None and last.get(begun[1], -1) >= number:
            line = line[: begun.start()] + line[begun.end() :]
            while lines[number].strip(" \t") != begun[1]:
                number += 1
            number += 1
        yield line


_CALL: Final = re.compile(
    r"""\b(?:run|call|check_call|check_output|Popen|popen\d?|getoutput|getstatusoutput|system2?|exec\w{0,3}|execSync
    |execFile|execFileSync|spawn\w{0,6}|fork|create_subprocess_(?:exec|shell)|shell_exec|passthru|proc_open|execute
    |capture2e?|capture3|pipeline\w*|which|pipe)\b
    \s{0,40} (?:\(\s{0,40})? (?:[\[(]\s{0,40})? [fr]?(["'])(?P<first>.{1,1000}?)\1
    (?P<more>(?:\s*,\s*[fr]?(?:"[^"\n]*"|'[^'\n]*'))*)""",
    re.VERBOSE,
)
"""Calls of Python, Perl, Ruby, node, PHP, Lua, R, Octave and awk that are given a program, or a line of shell."""

_PIPE: Final = re.compile(
    r"""["']-?\|-?["']\s*,\s*(["'])(?P<open>[^"'\n]{1,1000})\1|\|\s*"(?P<to>[^"\n]{1,1000})"
    |"(?P<of>[^"\n]{1,1000})"\s*\|\s*getline|["']\|(?P<tcl>[^"'\n]{1,1000})["']""",
    re.VERBOSE,
)
"""Pipes of Perl, awk and Tcl."""

_QUOTED: Final = {
    "perl": re.compile(r"`([^`\n]{1,1000})`|\bqx\s*[({\[]([^\n)}\]]{1,1000})"),
    "ruby": re.compile(r"`([^`\n]{1,1000})`|%x[({\[]([^\n)}\]]{1,1000})"),
    "php": re.compile(r"`([^`\n]{1,1000})`()"),
    "tcl": re.compile(r"\bexec\s+([^\]\n]{1,1000})()"),
}
_STRING: Final = re.compile(r"\"([^\"\n]*)\"|'([^'\n]*)'")


def calls_in(text: str, language: str) -> list[list[str]]:
    """The words of commands that a script of another language than shell runs, in the order of the text."""
    found: list[list[str]] = []
    for match in _CALL.finditer(text):
        first, more = match["first"], [a or b for a, b in _STRING.findall(match["more"])]
        found += prefixes.in_shell_line(first) if " " in first else [[first, *more]]
    lines = [next(filter(None, match.group("open", "to", "of", "tcl")), "") for match in _PIPE.finditer(text)]
    quoted = _QUOTED.get(language)
    lines += [a or b for a, b in quoted.findall(text)] if quoted is not None else []
    for line in lines:
        found += prefixes.in_shell_line(line)
    with_inner = [inner for words in found for inner in _with_inner(words, 0)]
    return [words for words in with_inner if 0 < len(words[0]) <= _NAME_MAX and "\0" not in words[0]][:COMMANDS_MAX]


_VARIABLE: Final = re.compile(r"^([A-Za-z_]\w*)[ \t]*[:?]?=[ \t]*([^\n#]*)", re.MULTILINE)
_USED: Final = re.compile(r"\$[({](\w+)[)}]")
_OF_MAKE: Final = {
    "MAKE": "make", "CC": "cc", "CXX": "g++", "CPP": "cc", "AR": "ar", "FC": "gfortran", "LD": "ld", "AS": "as",
}  # fmt: skip


def recipes_in(text: str) -> str:
    """The lines of shell in a Makefile, with its variables as far as they are plain."""
    text = text.replace("\\\n", " ")
    values = _OF_MAKE | {match[1]: match[2].strip() for match in _VARIABLE.finditer(text)}
    lines = [line[1:].lstrip("@+- \t") for line in text.splitlines() if line.startswith("\t")]
    for _ in range(3):  # a variable may name another one
        lines = [_USED.sub(lambda match: values.get(match[1], match[0])[:1000], line)[:10_000] for line in lines]
    return "\n".join(lines).replace("$$", "$")


_SHELL_OF_MAKE: Final = re.compile(
    r"^(?:export[ \t]+|override[ \t]+)?SHELL[ \t]*[:?]{0,2}=[ \t]*(\S{1,200})", re.MULTILINE
)


def shells_in(text: str) -> list[list[str]]:
    """The shells by which a Makefile has its recipes run: `SHELL := /bin/bash`."""
    return [[name] for name in dict.fromkeys(_SHELL_OF_MAKE.findall(text)) if "$" not in name]


_COMMAND: Final = re.compile(r"^[ \t]+command[ \t]*=[ \t]*(.+)$", re.MULTILINE)


def commands_of_rules(text: str) -> str:
    """The lines of shell in a file of ninja."""
    return "\n".join(_COMMAND.findall(text.replace("$\n", " ")))


def _with_inner(words: list[str], depth: int) -> Iterator[list[str]]:
    yield words
    if depth < _DEPTH_MAX:
        for inner in prefixes.commands(words):
            yield from _with_inner(inner, depth + 1)
