"""A file of a Windows editor, and a file that is no image: what was wrong was told in the words of a parser."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gproc.bundle.containers.images import root_of
from gproc.errors import BundleError
from gproc.locales.file import FileLocale
from gproc.trust.config import toml_of


def test_a_byte_order_mark_before_a_configuration_is_passed_over() -> None:
    """`config.toml: this is not TOML: Invalid statement (at line 1, column 1)`, where an editor shows nothing."""
    text = (codecs.BOM_UTF8 + b"[e]\r\nlabel = true\r\n").decode()
    assert toml_of("config.toml", text) == {"e": {"label": True}}


def test_it_is_passed_over_before_a_locale_too() -> None:
    content = codecs.BOM_UTF8 + b'master = "m"\nnodes = ["a"]\n'
    assert isinstance(FileLocale.of("cluster.toml", content), FileLocale)


@pytest.mark.parametrize("content", [b"", b"root:x:0:0:root:/root:/bin/bash\n" * 40, b"\x7fELF" + bytes(4096)])
def test_what_is_no_image_is_called_so(content: bytes, tmp_path: Path) -> None:
    """`--image FILE: invalid header`."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BundleError) as caught:
        root_of("file", str(tmp_path), {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)})
    assert str(caught.value).startswith("--image file: it is no image: an OCI layout, ")


def test_the_command_reads_a_configuration_of_a_windows_editor(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "config.toml").write_bytes(codecs.BOM_UTF8 + b'[common]\r\nsocket = "/nowhere/g"\r\n')
    env = {**os.environ, "GPROC_HOME": str(home)}
    done = subprocess.run([sys.executable, "-m", "gproc", "i"], env=env, capture_output=True, text=True)
    assert done.stderr == "gproc: no master is listening at /nowhere/g: start one with 'gproc m'\n"
