"""Words that are no UTF-8: each message shows their bytes in the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from gproc.cli.main import main
from gproc.shown import quoted_text

WORD = "a\udcff'b"


@pytest.mark.parametrize(
    "words",
    [
        (WORD,), ("help", WORD), ("key", WORD), ("key", "issue", WORD), ("key", "list", WORD), ("policy", WORD),
        ("e", f"--timeout={WORD}", "1", "true"), ("e", f"--{WORD}"), ("kill", "-s", WORD, "1"),
        ("cert", WORD, "--out=d"),
        ("m", f"--locale={WORD}"), ("s", f"--parent={WORD}"), ("s", f"--id={WORD}"), ("start", "-w", WORD),
        ("ps", WORD), ("e", f"--name={WORD}", "1", "true"), ("e", WORD, "true"), ("get", WORD, "d"),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_byte_that_is_no_text_is_shown_as_that_byte(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    r"""Some messages had '\udcff', which nobody has typed, and others \xff."""
    monkeypatch.setenv("GPROC_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main([*words]) in (2, 125)
    said = capsys.readouterr().err
    assert "udcff" not in said
    assert r"\xff" in said


@pytest.mark.parametrize("text", ["", "a", "it's", 'a"b', "\n\x1b", "\\udcff", "é"])
def test_other_words_are_quoted_as_in_python(text: str) -> None:
    assert quoted_text(text) == repr(text)
