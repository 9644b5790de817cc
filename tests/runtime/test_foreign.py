"""A runtime packed from a foreign root: another Python than the one that runs gproc, which nothing of it executes."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest

from gproc import native
from gproc.bundle import archive
from gproc.errors import BundleError
from gproc.interpreter import LIBRARIES, LOADER, PYTHON
from gproc.native.build import needs_relocation
from gproc.packager import PackRequest, pack, read_chunk
from gproc.runtime.foreign import installation_below
from gproc.runtime.making import runtime_for, runtime_of_root
from gproc.runtime.modules import modules_of_a_slave

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_a_root_without_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="/nowhere: there is no such directory"):
        installation_below("/nowhere")
    with pytest.raises(BundleError, match="has no Python: /usr/bin/python3"):
        installation_below(str(tmp_path))


def test_another_minor_version_of_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "bin" / "python3.2").write_bytes(b"\x7fELF")
    (tmp_path / "usr" / "bin" / "python3").symlink_to("python3.2")
    with pytest.raises(BundleError, match=rf"has Python 3\.2, and gproc here runs on {re.escape(VERSION)}"):
        installation_below(str(tmp_path))


def test_a_python_for_a_machine_that_gproc_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    program = bytearray(Path(sys.executable).read_bytes())
    program[18:20] = (243).to_bytes(2, "little")  # e_machine: EM_RISCV
    (tmp_path / "usr" / "bin" / f"python{VERSION}").write_bytes(program)
    (tmp_path / "usr" / "bin" / "python3").symlink_to(f"python{VERSION}")
    with pytest.raises(BundleError, match="is for none of the machines"):
        installation_below(str(tmp_path))


def test_no_runtime_is_known_for_a_machine_for_which_none_was_packed(tmp_path: Path) -> None:
    assert runtime_for({"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}, "aarch64") is None


def test_the_helper_needs_nobody_to_correct_its_addresses() -> None:
    if reason := native.why_missing():
        pytest.skip(reason)
    assert not needs_relocation(Path(os.fsdecode(native.HELPER)))
    assert needs_relocation(Path(sys.executable))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With this Python, as a system's own, and what a slave imports of others' packages."""
    if reason := native.why_missing():
        pytest.skip(reason)
    place = tmp_path_factory.mktemp("root")
    interpreter = os.path.realpath(sys.executable)
    extensions = tuple(module.source for module in modules_of_a_slave() if module.is_extension)
    bundle = pack(PackRequest(interpreter, "/", {}, extensions, cache_dir=str(place / "cache")))
    file = io.BytesIO()
    archive.write(bundle.manifest, lambda *what: read_chunk(bundle, *what), file)
    file.seek(0)
    with tarfile.open(fileobj=file) as packed:
        packed.extractall(place, filter="fully_trusted")
    (place / "usr" / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(interpreter, place / "usr" / "bin" / f"python{VERSION}")
    (place / "usr" / "bin" / "python3").unlink(missing_ok=True)
    (place / "usr" / "bin" / "python3").symlink_to(f"python{VERSION}")
    home = place / "usr" / "lib" / f"python{VERSION}"
    left_out = shutil.ignore_patterns("site-packages", "test", "__pycache__", "idlelib", "config-*")
    shutil.copytree(sysconfig.get_path("stdlib"), home, ignore=left_out, dirs_exist_ok=True)
    for module in modules_of_a_slave():
        if "site-packages" in module.source:
            name = module.source.rpartition("/site-packages/")[2]
            (home / "dist-packages" / name).parent.mkdir(parents=True, exist_ok=True)
            to = place / "usr" / "lib" / "python3" / "dist-packages" / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(module.source, to)
    return place


@pytest.mark.stress
def test_a_runtime_of_a_foreign_root_runs(root: Path, tmp_path: Path) -> None:
    runtime = runtime_of_root({"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}, str(root))
    assert (runtime.machine, runtime.python) == (os.uname().machine, VERSION)
    assert len(runtime.archive) < 12_000_000
    with tarfile.open(fileobj=io.BytesIO(runtime.archive)) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    at = tmp_path / "unpacked"
    words = [
        str(at / LOADER),
        "--library-path",
        str(at / LIBRARIES),
        str(at / PYTHON),
        "-I",
        "-S",
        "-X",
        "utf8",
        "-m",
        "gproc",
    ]
    done = subprocess.run([*words, "--version"], capture_output=True, text=True, env={}, cwd="/")
    assert done.stdout.startswith("gproc "), done.stderr
    assert list(tmp_path.glob("gproc/runtime-*")) == [], "for this kind of machine the installation's own counts"


@pytest.mark.stress
def test_what_a_foreign_root_lacks_is_named_with_the_command_that_gets_it(root: Path, tmp_path: Path) -> None:
    packages = root / "usr" / "lib" / "python3" / "dist-packages"
    (packages / "msgspec").rename(tmp_path / "msgspec")
    try:
        with pytest.raises(BundleError, match=r"lacks msgspec for its Python; pip install .* msgspec=="):
            installation_below(str(root))
    finally:
        (tmp_path / "msgspec").rename(packages / "msgspec")
