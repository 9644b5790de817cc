"""The text of a configuration file, as xinetd has it, to blocks of entries.  Pure; what a key means is in `settings`.

    service gridftp
    {
        # a comment has a line of its own
        port = 5000
        env += LD_LIBRARY_PATH=/opt/lib
        crowded = "421 Try later "
    }

Globus' gfork begins at the first line that is just `{`, whatever stands before it, and ends at `}` or the end of the
file.  Such files are read alike here.  Bytes that are not UTF-8 are kept.
"""

from __future__ import annotations

import re
from typing import Final, Literal, cast

import msgspec

from gproc.errors import UsageError
from gproc.shown import shown_text

MAX_FILE_BYTES: Final = 1 << 20
"""The limit of a configuration file.  The longest that makes sense has some hundred lines."""

MAX_LINE: Final = 64 << 10
"""Characters.  xinetd and Globus' gfork cut a line at 1,023 and say nothing."""

Operator = Literal["=", "+=", "-="]

_KEY: Final = re.compile(r'\s*(?:"([^"]*)"|([A-Za-z_][\w-]*?))\s*(\+=|-=|=)\s*')
_WORD: Final = re.compile(r"(?:[^\s']|'[^']*')+|'")  # the last: a quote that is not closed
_HEADING: Final = re.compile(r"(service|defaults)\b\s*([^\s{]*)\s*(\{?)$")


class Origin(msgspec.Struct, frozen=True):
    """Where a setting comes from.  line and column: from 1; 0 on the command line.  text: the whole line."""

    source: str
    line: int
    column: int
    text: str

    def at(self, column: int) -> Origin:
        return msgspec.structs.replace(self, column=column)

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class ConfigurationError(UsageError):
    """A configuration that gfork cannot use."""

    def __init__(self, origin: Origin, reason: str) -> None:
        super().__init__(origin, reason)
        self.origin = origin
        self.reason = reason

    def __str__(self) -> str:
        if not self.origin.line:
            return f"{self.origin}: {self.reason}"
        text = shown_text(self.origin.text.replace("\t", " "))
        return f"{self.origin}: {self.reason}\n  {text}\n  {' ' * (self.origin.column - 1)}^"


class Warned(msgspec.Struct, frozen=True):
    """Something in a configuration that has no effect, or perhaps not the one that was meant."""

    origin: Origin
    reason: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.reason}"


class ConfigLine(msgspec.Struct, frozen=True):
    """One line of a block, or one switch.  origin: of the value."""

    key: str
    operator: Operator
    value: str
    origin: Origin
    key_column: int = 1

    def words(self) -> list[str]:
        """The value's words, between blanks.  Single quotes keep blanks in a word: NAME='a b'.

        Raises: ConfigurationError if a quote is not closed.
        """
        words: list[str] = []
        for match in _WORD.finditer(self.value):
            if match[0] == "'":
                raise ConfigurationError(
                    self.origin.at(self.origin.column + match.start()), "this quote is not closed by another '"
                )
            words.append(match[0].replace("'", ""))
        return words


class Block(msgspec.Struct, frozen=True):
    """kind: "service" or "defaults".  name: of a service; may be empty."""

    kind: str
    name: str
    origin: Origin
    entries: tuple[ConfigLine, ...]


class Parsed(msgspec.Struct, frozen=True):
    blocks: tuple[Block, ...]
    warnings: tuple[Warned, ...]


def parse(text: str, source: str) -> Parsed:
    """Raises: ConfigurationError, with the line and column of the first character that cannot be read."""
    return _Parser(source).parse(text)


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._blocks: list[Block] = []
        self._warnings: list[Warned] = []
        self._heading: tuple[str, str, Origin] | None = None
        self._entries: list[ConfigLine] | None = None  # None: outside of a block

    def parse(self, text: str) -> Parsed:
        origin = Origin(self._source, 1, 1, "")
        for number, line in enumerate(text.split("\n"), start=1):
            origin = Origin(self._source, number, 1, line.rstrip())
            self._check(line, origin)
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            if self._entries is None:
                self._outside(stripped, origin)
            elif stripped == "}":
                self._end()
            else:
                self._entries.append(_entry(line.rstrip(), origin))
        if self._entries is not None:
            self._warnings.append(Warned(origin, "the file ends before the closing }"))
            self._end()
        return Parsed(tuple(self._blocks), tuple(self._warnings))

    def _check(self, line: str, origin: Origin) -> None:
        if len(line) > MAX_LINE:
            cut = msgspec.structs.replace(origin, text="")
            raise ConfigurationError(cut, f"the line has {len(line):,} characters; the limit is {MAX_LINE:,}")
        if "\0" in line:
            raise ConfigurationError(origin.at(line.index("\0") + 1), "a zero byte: this is not a text file")

    def _outside(self, line: str, origin: Origin) -> None:
        """A line outside of all blocks."""
        if line == "{":
            self._begin(origin)
        elif match := _HEADING.match(line):
            self._heading = (match[1], match[2], origin)
            if match[3]:
                self._begin(origin)
        elif line.split()[0] in ("include", "includedir"):
            self._warnings.append(Warned(origin, "gfork reads one file; this line has no effect"))
        elif any(block.kind == "service" for block in self._blocks):
            self._warnings.append(Warned(origin, "a line after the service; it has no effect"))
        else:
            column = len(origin.text) - len(origin.text.lstrip()) + 1
            raise ConfigurationError(origin.at(column), "expected `service NAME`, and { on the next line")

    def _begin(self, origin: Origin) -> None:
        self._heading = self._heading or ("service", "", origin)
        self._entries = []

    def _end(self) -> None:
        assert self._heading is not None
        assert self._entries is not None
        kind, name, origin = self._heading
        self._blocks.append(Block(kind, name, origin, tuple(self._entries)))
        self._heading, self._entries = None, None


def _entry(line: str, origin: Origin) -> ConfigLine:
    """A line of a block: KEY = VALUE, KEY += VALUE or KEY -= VALUE; the value, and the key, may be in double quotes."""
    first = len(line) - len(line.lstrip())
    match = _KEY.match(line)
    if match is None:
        word = re.match(r"\s*[\w-]*\s*", line)
        raise ConfigurationError(
            origin.at((word.end() if word else first) + 1), "expected KEY = VALUE, KEY += VALUE or KEY -= VALUE"
        )
    value, column = line[match.end() :], match.end() + 1
    if value.startswith('"'):
        closing = value.find('"', 1)
        if closing < 0:
            raise ConfigurationError(origin.at(column), 'this quote is not closed by another "')
        if rest := value[closing + 1 :].strip():
            behind = column + value.index(rest, closing + 1)
            raise ConfigurationError(
                origin.at(behind), 'text after the closing quote: put all of the value between ", or a word between \''
            )
        value, column = value[1:closing], column + 1
    key = match[1] if match[1] is not None else match[2]
    return ConfigLine(key, cast(Operator, match[3]), value, origin.at(column), first + 1)
