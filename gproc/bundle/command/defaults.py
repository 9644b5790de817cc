"""Files of the working directory that programs read without being told.  Pure.

Sources: the manual pages of these programs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_FILES: Final = {
    "rake": ("rakefile", "Rakefile", "rakefile.rb", "Rakefile.rb"),
    "cmake": ("CMakeLists.txt",),
    "scons": ("SConstruct", "Sconstruct", "sconstruct"),
    "snakemake": ("Snakefile", "snakefile", "workflow/Snakefile"),
    "bundle": ("Gemfile", "Gemfile.lock"),
    "meson": ("meson.build",),
    "just": ("justfile",),
    "cargo": ("Cargo.toml", "Cargo.lock"),
    "npm": ("package.json", "package-lock.json"),
    "pytest": ("pytest.ini", "pyproject.toml", "setup.cfg", "tox.ini", "conftest.py"),
    "latexmk": ("latexmkrc", ".latexmkrc"),
    "doxygen": ("Doxyfile", "doxyfile", "doxygen.cfg"),
    "ant": ("build.xml",),
    "mvn": ("pom.xml",),
    "tox": ("tox.ini", "setup.cfg", "pyproject.toml"),
    "nox": ("noxfile.py",),
    "invoke": ("tasks.py",),
    "mkdocs": ("mkdocs.yml",),
    "gulp": ("gulpfile.js",),
    "waf": ("wscript",),
    "task": ("Taskfile.yml",),
}

SAY_MORE: Final = frozenset({"make", "gmake", "ninja", "ninja-build", *_FILES})
"""Programs whose name alone says what they read."""


_TOLD_ALL: Final = """
    cat tac head tail nl od wc sort uniq cut paste join comm tr fold fmt pr split csplit tee dd shuf tsort expand
    unexpand cksum sum md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum base32 base64 basenc cp mv ln
    rm ls dir vdir stat du df touch truncate shred chmod chown chgrp mkdir rmdir install readlink realpath
    basename dirname test [ echo printf expr seq factor numfmt date sleep true false find grep egrep fgrep zgrep
    sed diff diff3 sdiff cmp patch file gzip gunzip zcat bzip2 bunzip2 bzcat xz unxz xzcat zstd unzstd zstdcat lz4
    tar zip unzip less more strings hexdump xxd hd column rev cal which uname hostname ps kill pwd nproc"""
TOLD_ALL: Final = frozenset(_TOLD_ALL.split())
"""Programs that open nothing but what their words name."""

_PYTHON: Final = re.compile(r"python[\d.]*")


def read_by(words: Sequence[str]) -> tuple[str, ...]:
    """words: of the command, of which the first is the program: `pytest`, or `python3 -m pytest`."""
    name = words[0].rpartition("/")[2]
    if _PYTHON.fullmatch(name) and "-m" in words[1:-1]:
        name = words[words.index("-m") + 1].partition(".")[0]
    return _FILES.get(name, ())
