"""Which names are hidden from guesses: all that begin with a dot, but for settings that tools read of a project.  Pure.

A hidden file may hold a secret, so it goes along only if somebody asks for it.  The names here are of formatters,
checkers, test runners and interpreters, and hold none by their makers' documentation.  Not among them are those that
may: `.npmrc`, `.curlrc`, `.wgetrc`, `.gemrc`, `.condarc`, `.pypirc`, `.Renviron`, `.env`, and the profiles of shells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_ENDS: Final = r"(\.(json|yaml|yml|toml|js|cjs|mjs))?"
_SETTINGS: Final = re.compile(
    r"\.("
    r"libs"  # a directory: libtool keeps what it builds in it
    r"|Rprofile|octaverc|gdbinit|lldbinit|sqliterc|psqlrc|vimrc|exrc|emacs|nanorc|guile|sbclrc|eclrc|ocamlinit|ghci|irbrc"
    r"|inputrc|dircolors|gnuplot|latexmkrc|ctags|perltidyrc|perlcriticrc|proverc|rspec|yardopts|luacheckrc|shellcheckrc"
    r"|clang-format|clang-tidy|clangd|editorconfig|indent\.pro|astylerc|uncrustify\.cfg|rustfmt\.toml|scalafmt\.conf"
    r"|flake8|pylintrc|coveragerc|style\.yapf|isort\.cfg|mypy\.ini|ruff\.toml|pycodestyle|pydocstyle|codespellrc|bandit"
    r"|(ruby|python|node|java)-version|nvmrc|tool-versions|gitignore|gitattributes|dockerignore|ignore|rgignore|fdignore"
    rf"|(eslint|prettier|babel|browserslist|stylelint|mocha|nyc|postcss|markdownlint)rc{_ENDS}|swcrc|jshintrc"
    rf"|(eslint|prettier)ignore|(rubocop|yamllint|luarc|markdownlint){_ENDS}"
    r")"
)


def is_hidden(name: str) -> bool:
    """name: of a file or directory, without slashes."""
    return name.startswith(".") and _SETTINGS.fullmatch(name) is None


def has_hidden(parts: Iterable[str]) -> bool:
    """Whether one of the names in a path is hidden."""
    return any(map(is_hidden, parts))
