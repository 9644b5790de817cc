"""Files of the working directory that programs read without being told.  Pure.

Sources: the manual pages of these programs.
"""

from __future__ import annotations

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
}

SAY_MORE: Final = frozenset({"make", "gmake", "ninja", "ninja-build", *_FILES})
"""Programs whose name alone says what they read."""


def files_of(name: str) -> tuple[str, ...]:
    """name: of the program, without a directory."""
    return _FILES.get(name, ())
