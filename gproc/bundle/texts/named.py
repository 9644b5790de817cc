"""The names of files in a text: what a script, a list or a file of settings may mean.  Pure.

Nothing is executed: what counts are strings in quotes, alone or joined with their neighbours, and in languages without
quotes all words.  A name of nothing is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

STRINGS_MAX: Final = 2000
"""Strings of one text that are looked for."""

_JOINED_MAX: Final = 4
"""Strings of one path: `os.path.join(here, "data", "in.csv")`."""

_STRING: Final = re.compile(rb"\"([^\"\n]{1,300})\"|'([^'\n]{1,300})'")
_BETWEEN: Final = re.compile(rb"\)?[\s,/+]{1,80}|\)+\.\w{1,20}\(")
"""What may stand between two strings that are parts of one path."""

_WORD: Final = re.compile(rb"[^\s;&|<>()\[\]{}\"'`$=]{1,300}")
_WRITTEN: Final = re.compile(rb"(?<![-=])>{1,2}\|?\s*(?![&(])[^\s;&|<>()]{1,300}")
"""A file that a shell writes to: it is the node's file, and is not brought."""

_OPENED: Final = re.compile(
    rb"(?:open|file)\s{0,9}\(\s{0,9}(?:\"[^\"\n]{1,300}\"|'[^'\n]{1,300}')"
    rb"\s{0,9},\s{0,9}(?:mode\s{0,9}=\s{0,9})?[\"'][wax][bt+]{0,2}[\"']"
)
"""What other languages open to write: `open("/home/me/results", "a")`."""

_OF_WORDS: Final = ("sh", "tcl", "m4", "make", "ninja")
"""Languages whose strings need no quotes."""

_OF_VALUES: Final = ("perl", "ruby", "php")
"""Languages that put values into lines of shell, which are in no quotes: `jq . $d/conf.json`."""

_HEAD: Final = re.compile(
    r"(?:\$\(dirname (?:--? )?(?:\"?\$0\"?|\"?\$\{?BASH_SOURCE(?:\[0\])?\}?\"?)\)|\$\{?FindBin::(?:Real)?Bin\}?"
    r"|\$\{(?:0|BASH_SOURCE(?:\[0\])?)%/\*\}|[$#]?\{[\w.:\[\]]{1,60}\}|\$\([A-Za-z_]\w{0,60}\)|\$\w{1,60}|\.)?/"
)
"""How texts write "beside me", or "below a directory that is in a variable"."""

_HEAD_OF_BYTES: Final = re.compile(_HEAD.pattern.encode())
_BESIDE: Final = re.compile(_HEAD.pattern.encode() + rb"([\w./+@%*?-]{1,300})")
_PATH_LIKE: Final = re.compile(rb"(?<![\w./+@%~:-])[\w./+@%~-]{3,300}(?![\w/+@%~-])")
_LISTS: Final = re.compile(
    rb"\b(?:listdir|scandir|iterdir|list\.files|list_files|readdir(?:Sync)?|opendir|[ri]?glob|os\.walk|Dir|file_list)\b"
    rb"|\bdir\("
    rb"|(?:^|[\s\"'`(;|&])(?:(?:ls|find|tar|du|rsync|cpio|zip)[ \t]+[\w./-]|(?:grep|cp|wc|diff)[ \t]+-\w*[rRa])",
    re.MULTILINE,
)
"""How a text lists what is in a directory."""

_MODULE_OF_GUILE: Final = re.compile(rb"\(([\w-]{1,60}(?:[ \t]+[\w-]{1,60}){0,4})\)")
"""`(use-modules (my module))` loads my/module.scm."""

_COMMA: Final = re.compile(rb"[\s,]+")
_LOADED: Final = re.compile(
    rb":-\s*\[([\w/,\s.]{1,300})\]|(?:consult|use_module|ensure_loaded|include|load_files)\(\s*\[?([\w/,\s.]{1,300})"
)
"""Prolog's files are mostly named without quotes."""

_OF_OPTION: Final = re.compile(rb"(?:@|--?[\w-]{1,60}=@?|file:(?://)?|\w{1,60}=@?)([\w./+@-]{1,300})(?:\?.*)?")
"""An argument that a script gives to another program: `"@body.txt"`, `"--in=data.csv"`."""

_NUMBER: Final = re.compile(rb"[\d./+%~@-]+([eEdD][\d+-]*)?")

_PLACEHOLDER: Final = re.compile(
    rb"%(?:\(\w{1,60}\))?[-+ #0]{0,4}\d{0,3}(?:\.\d{1,3})?(?:hh?|ll?|z)?[diouxXsfgeEc]"
    rb"|[$#]?\{[^{}\n\"']{0,60}\}|\$\w{1,60}"
)
"""What printf(3), Python, Perl, PHP, Ruby, JavaScript and a shell put a value for."""

_PLUS: Final = re.compile(rb"\s*(?:\+|\.\.?|,|<>|~)\s*(?=\S)[^\"'`\n]{1,60}?(?:\n\s*)?(?:\+|\.\.?|,|<>|~)\s*")
"""What stands between two strings that are put together around a value: `"part" + str(i) + ".csv"`."""

_WORD_LETTER: Final = re.compile(rb"\w")
_SUFFIX: Final = re.compile(rb"\.\w*$")
_PATTERN_BYTES_MAX: Final = 300
_WITH_VALUE: Final = re.compile(rb"(?<![\w./@+$-])[\w./@+-]{0,100}\$[\w{}./@+$-]{1,200}")
"""A word of a shell with a value in it: `in/run_$i.dat`."""

_TEMPLATE: Final = re.compile(rb"`([^`\n]{1,300})`")
_OF_PATTERN: Final = re.compile(rb"[\w./*@+-]+")
_PATTERNS_MAX: Final = 200
"""Of one text; each is a directory to be listed."""
_OF_HOME: Final = re.compile(r"(?:~|\$HOME|\$\{HOME\})/(?=[^/])")


def names_in(text: bytes, language: str) -> list[str]:
    """The names in a script.  language: "" for data, in which every word that looks like a path counts."""
    if language in ("sh", "make"):
        text = _WRITTEN.sub(b" ", text)
    text = _OPENED.sub(b" ", text)
    strings = [(match.start(), match.end(), match[1] or match[2] or b"") for match in _STRING.finditer(text)]
    strings = strings[:STRINGS_MAX]
    found = [string for _, _, string in strings]
    found += _joined(text, strings)
    found += [match[1] for match in map(_OF_OPTION.fullmatch, found) if match is not None]
    if language in _OF_VALUES:
        found += _BESIDE.findall(text)[:STRINGS_MAX]
    if language in _OF_WORDS:
        found += _WORD.findall(text)[:STRINGS_MAX]
        found += _BESIDE.findall(text)[:STRINGS_MAX]
    formed = _WITH_VALUE.findall(text)[:STRINGS_MAX] if language in _OF_WORDS else []
    formed += _TEMPLATE.findall(text) if language == "node" else []
    found += patterns_in([*found, *formed, *_around(text, strings)])
    if language == "guile":
        found += [b"/".join(match.split()) + b".scm" for match in _MODULE_OF_GUILE.findall(text)[:STRINGS_MAX]]
    if language == "prolog":
        loaded = [a or b for a, b in _LOADED.findall(text)[:STRINGS_MAX]]
        found += [name for names in loaded for name in _COMMA.split(names)]
    if not language:
        found += [word for word in _PATH_LIKE.findall(text) if looks_like_path(word)][:STRINGS_MAX]
    return sorted({string.decode(errors="surrogateescape") for string in found})


def patterns_in(strings: Sequence[bytes]) -> list[bytes]:
    """Strings that a value is put into, as a shell's patterns: `data/part%03d.dat` as `data/part*.dat`.

    Only such as say more than a suffix or a directory.
    """
    found = []
    for string in strings:
        if len(string) > _PATTERN_BYTES_MAX:
            continue
        head = _HEAD_OF_BYTES.match(string)
        rest = string[head.end() :] if head is not None and not string.startswith(b"/") else string
        pattern = _PLACEHOLDER.sub(b"*", rest)
        if pattern != rest and is_pattern(pattern):
            found.append(re.sub(rb"\*+", b"*", pattern))
    return list(dict.fromkeys(found))[:_PATTERNS_MAX]


def is_pattern(pattern: bytes) -> bool:
    """Whether it may stand for files: it has a suffix or a directory, and none of a sentence's signs.

    It says more than a suffix: it begins with a directory, or one of its parts has two letters.
    """
    if _OF_PATTERN.fullmatch(pattern) is None or not looks_like_path(pattern.replace(b"*", b"")):
        return False
    parts = [part for part in pattern.split(b"/") if part.strip(b".")]
    if len(parts) > 1 and b"*" not in parts[0]:
        return True
    said = [_WORD_LETTER.findall(part) for part in (*parts[:-1], _SUFFIX.sub(b"", parts[-1]))]
    return max(map(len, said), default=0) > 1


def lists(text: bytes) -> bool:
    """Whether a text may list the files of directories that it names."""
    return _LISTS.search(text) is not None


def looks_like_path(word: bytes) -> bool:
    """Whether it has a directory or a suffix, and is no number."""
    return (b"/" in word or b"." in word.strip(b".")) and not _NUMBER.fullmatch(word)


def below_home(name: str) -> str:
    """What follows `~/` or `$HOME/`; "" if the name begins otherwise."""
    match = _OF_HOME.match(name)
    return name[match.end() :] if match is not None else ""


def relative(name: str, language: str) -> str:
    """A name without "beside me" in front; "" if it cannot be one of a file."""
    found = _HEAD.sub("", name, count=1) if _HEAD.match(name) else name
    if language == "lua":
        found = found.partition("?")[0]  # package.path has templates: ./lib/?.lua
    return "" if found.startswith(("/", "-", "~")) or "\0" in found else found


def _around(text: bytes, strings: list[tuple[int, int, bytes]]) -> Iterator[bytes]:
    """Two strings with a value between them: `"d/c" + str(i) + ".x"` as `d/c%s.x`."""
    for (_, end, before), (start, _, after) in pairwise(strings):
        if end < start <= end + 80 and _PLUS.fullmatch(text, end, start) is not None:
            yield before + b"%s" + after


def _joined(text: bytes, strings: list[tuple[int, int, bytes]]) -> Iterator[bytes]:
    """Neighbours as one path, beginning with each of them."""
    joins = [_BETWEEN.fullmatch(text, end, start) is not None for (_, end, _), (start, _, _) in pairwise(strings)]
    for first in range(len(strings)):
        path = strings[first][2]
        for index in range(first + 1, min(first + _JOINED_MAX, len(strings))):
            if not joins[index - 1] or b" " in strings[index][2]:
                break
            path += b"/" + strings[index][2]
            yield path
