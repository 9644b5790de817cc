"""Files and tests that the documentation names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
ROOTS = (CHECKOUT, CHECKOUT / "gproc", CHECKOUT / "tests")


def named_files(page: Path) -> set[str]:
    return set(re.findall(r"`([\w.-][\w./-]*/[\w.-]+\.(?:py|sh|md|toml))(?:::\w+)?`", page.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    missing = {name for name in named_files(page) if not any((root / name).exists() for root in ROOTS)}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    for file, test in re.findall(r"`([\w./-]+\.py)::(\w+)`", page.read_text()):
        assert f"def {test}(" in (CHECKOUT / "tests" / file).read_text(), f"{file}::{test}"
