"""`python -m gproc.cli.man DIR`: write gproc.1 and gproc-MODE.1 for man(1), from the same values as the help pages."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from gproc import __version__
from gproc.cli.modes import MODES, Mode
from gproc.cli.pages import Page, Row, mode_page, root_page

EXIT_STATUSES: Final = (
    Row(("0",), "", "Success; for e: every node's program returned 0."),
    Row(("1",), "", "cp, get: something could not be copied; stderr says what."),
    Row(("2",), "", "Wrong usage."),
    Row(("124",), "", "--timeout ended it."),
    Row(("125",), "", "gproc itself failed: no master, no such node, a node was lost."),
    Row(("126",), "", "e: the program cannot be executed."),
    Row(("127",), "", "e: the program was not found."),
    Row(("128+N",), "", "e: the program was killed by signal N; 130 and 141 also of gproc itself."),
)


def main(argv: Sequence[str]) -> int:
    """argv: the directory, which is made if it is missing."""
    if len(argv) != 1 or argv[0].startswith("-"):
        sys.stderr.write("usage: python -m gproc.cli.man DIR\n")
        return 2
    os.makedirs(argv[0], exist_ok=True)
    for name, text in pages():
        with open(os.path.join(argv[0], name), "w", encoding="utf-8") as file:
            file.write(text)
    return 0


def pages() -> Iterator[tuple[str, str]]:
    """The name and the text of each file."""
    yield "gproc.1", roff("gproc", root_page(), MODES)
    for mode in MODES:
        yield f"{title_of(mode)}.1", roff(title_of(mode), mode_page(mode), ())


def title_of(mode: Mode) -> str:
    return f"gproc-{mode.letters}"


def roff(title: str, page: Page, modes: Sequence[Mode]) -> str:
    """A page in the macros of man(7).  modes: those whose pages it refers to, besides gproc(1)."""
    lines = [
        f'.TH {escaped(title.upper())} 1 "" "gproc {__version__}" "gproc"',
        ".SH NAME",
        rf"{escaped(title)} \- {escaped(page.summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        rf"\fB{escaped(page.name)}\fR {escaped(page.usage)}",
        ".SH DESCRIPTION",
        escaped(page.summary),
    ]
    for paragraph in (*page.paragraphs, page.last):
        if paragraph:
            lines += [".PP", escaped(paragraph)]
    for section in page.sections:
        lines += [f".SH {escaped(section.title.upper())}", *_rows(section.rows)]
    lines += [".SH EXIT STATUS", *_rows(EXIT_STATUSES)]
    others = [title_of(mode) for mode in modes] or ["gproc"]
    lines += [".SH SEE ALSO", ",\n".join(rf"\fB\%{escaped(other)}\fR(1)" for other in others)]
    return "\n".join(lines) + "\n"


def _rows(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        yield ".TP"
        terms = ", ".join(rf"\fB{escaped(spelling)}\fR" for spelling in row.spellings)
        yield terms + (rf" \fI{escaped(row.value)}\fR" if row.value else "")
        yield escaped(row.text)


def escaped(text: str) -> str:
    """Text that roff prints as it is, dashes as a person must type them."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga").replace("'", r"\(aq")
    text = text.replace("^", r"\(ha").replace("~", r"\(ti")
    return rf"\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
