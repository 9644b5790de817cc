"""Interpreters with their libraries, on a node that has nothing of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.bundle.image import Image
from gproc.bundle.languages import nodejs
from gproc.bundle.languages.imports import imported_by
from gproc.packager import Bundle
from tests.bundle.conftest import Compile, made, sent

Pack = Callable[..., Bundle]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

PYTHON = "/usr/bin/python3"
MODULES = "import ssl, sqlite3, ctypes, decimal, asyncio, zoneinfo, encodings.euc_jp"


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def needs(program: str) -> None:
    if not os.path.exists(program):
        pytest.skip(f"needs {program}")


def test_a_python_script_finds_its_standard_library(packed: Pack, run_on_empty_node: Run, tmp_path: Path) -> None:
    needs(PYTHON)
    script = executable(
        tmp_path / "prog", f"#!/usr/bin/env -S {PYTHON} -u\n{MODULES}\nprint(sqlite3.connect(':memory:'))\n"
    )
    done = run_on_empty_node(packed(script))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<sqlite3.Connection")


def test_a_bundle_of_python_has_its_library_but_not_its_own_tests(packed: Pack) -> None:
    needs(PYTHON)
    paths = {os.fsdecode(file.path) for file in packed(PYTHON).manifest.files()}
    assert any(path.endswith("/encodings/utf_8.py") for path in paths)
    assert any("/lib-dynload/_ssl" in path for path in paths)
    assert not any("/test/test_" in path or "/config-3" in path for path in paths)


def test_a_virtual_environment_is_packed_with_its_packages_and_its_base(
    packed: Pack, run_on_empty_node: Run, tmp_path: Path
) -> None:
    needs(PYTHON)
    venv = tmp_path / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=120)
    packages = next((venv / "lib").iterdir()) / "site-packages"
    (packages / "mine.py").write_text("def answer():\n    return 42\n")
    script = executable(tmp_path / "prog", f"#!{venv}/bin/python\nimport mine, sys\nprint(mine.answer(), sys.prefix)\n")
    done = run_on_empty_node(packed(script))
    assert (done.stdout, done.stderr) == (f"42 {venv}\n", "")


def test_a_script_is_packed_with_the_modules_beside_it_and_what_these_import(
    packed: Pack, run_on_empty_node: Run, tmp_path: Path
) -> None:
    needs(PYTHON)
    (tmp_path / "pack" / "sub").mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").write_text("from pack.sub import deep\n")
    (tmp_path / "pack" / "sub" / "deep.py").write_text("import beside\nvalue = beside.value\n")
    (tmp_path / "beside.py").write_text("value = 42\n")
    (tmp_path / "unrelated.py").write_text("")
    script = executable(tmp_path / "prog", f"#!{PYTHON}\nimport os, pack as p\nprint(p.deep.value)\n")
    bundle = packed(script)
    names = {os.path.relpath(os.fsdecode(file.path), tmp_path) for file in bundle.manifest.files()}
    assert {"pack/__init__.py", "pack/sub/deep.py", "beside.py"} <= names
    assert "unrelated.py" not in names
    done = run_on_empty_node(bundle)
    assert (done.stdout, done.stderr) == ("42\n", "")


def test_the_interpreter_of_these_tests_runs_elsewhere(packed: Pack, run_on_empty_node: Run, tmp_path: Path) -> None:
    base = os.path.realpath(sys.executable)
    script = executable(tmp_path / "prog", f"#!{base}\nimport ssl, json\nprint(json.dumps([1]))\n")
    done = run_on_empty_node(packed(script))
    assert (done.stdout, done.stderr) == ("[1]\n", "")


def test_a_perl_script_finds_its_modules(packed: Pack, run_on_empty_node: Run, tmp_path: Path) -> None:
    needs("/usr/bin/perl")
    text = "use strict; use List::Util qw(sum); use POSIX; use Encode;\nprint sum(40, 2), floor(0.5), qq{\\n};\n"
    done = run_on_empty_node(packed(executable(tmp_path / "prog", f"#!/usr/bin/perl -w\n{text}")))
    assert (done.stdout, done.stderr) == ("420\n", "")


def test_a_bash_script_runs_in_its_own_bash(packed: Pack, run_on_empty_node: Run, tmp_path: Path) -> None:
    needs("/bin/bash")
    script = executable(tmp_path / "prog", "#!/bin/bash\nset -u; a=(1 2 3); printf '%s\\n' ${#a[@]} ~root\n")
    done = run_on_empty_node(packed(script))
    assert done.stdout.splitlines()[0] == "3"


def test_a_program_that_converts_text_is_packed_with_all_character_sets(packed: Pack, run_on_empty_node: Run) -> None:
    if shutil.which("iconv", path="/usr/bin") is None or not os.path.isdir("/usr/lib/x86_64-linux-gnu/gconv"):
        pytest.skip("needs iconv(1) and glibc's gconv modules")
    bundle = packed("/usr/bin/iconv")
    done = run_on_empty_node(bundle, "-f", "EUC-JP", "-t", "UTF-8", "/dev/null")
    assert (done.returncode, done.stderr) == (0, "")
    names = {os.path.basename(path) for path in bundle.manifest.glibc}
    assert {b"EUC-JP.so", b"libJIS.so", b"libc.so.6"} <= names


def test_a_program_that_looks_up_users_is_packed_with_glibcs_modules_for_it(packed: Pack) -> None:
    names = {os.path.basename(file.path) for file in packed("/usr/bin/id").manifest.files()}
    if b"libc.so.6" not in names:
        pytest.skip("needs an id(1) of glibc")
    assert b"libnss_files.so.2" in names


def test_an_installed_package_is_packed_only_with_the_packages_that_it_imports(
    packed: Pack, run_on_empty_node: Run, tmp_path: Path
) -> None:
    needs(PYTHON)
    base = tmp_path / "base"
    real = os.path.realpath(PYTHON)
    version = os.path.basename(real)
    if not os.path.isfile(f"/usr/lib/{version}/os.py"):
        pytest.skip("needs a Python whose library is in /usr/lib")
    (base / "bin").mkdir(parents=True)
    shutil.copy(real, base / "bin" / version)
    (base / "lib").mkdir()
    (base / "lib" / version).mkdir()
    for entry in os.scandir(f"/usr/lib/{version}"):
        (base / "lib" / version / entry.name).symlink_to(entry.path)
    site = base / "lib" / version / "site-packages"
    for name, text in {
        "wanted/__init__.py": "import needed\ntry:\n    import optional\nexcept ImportError:\n    pass\n",
        "wanted-1.0.dist-info/METADATA": "Name: wanted\n",
        "needed.py": "value = 42\n",
        "optional.py": "",
        "other.py": "",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    text = f"#!{base}/bin/{version}\nimport wanted\nprint(wanted.needed.value)\n"
    bundle = packed(executable(tmp_path / "prog", text), {"PYTHONHOME": str(base)})
    paths = {os.fsdecode(file.path) for file in bundle.manifest.files()}
    names = {os.path.relpath(path, site) for path in paths if path.startswith(f"{site}/")}
    assert names == {"wanted/__init__.py", "wanted-1.0.dist-info/METADATA", "needed.py"}


@pytest.mark.parametrize(
    ("files", "text", "found"),
    [
        (
            {"Lab_Tool-1.0.egg-info/entry_points.txt": "[console_scripts]\nlab = labtool.main:run\n",
             "labtool/main.py": "", "labtool/__init__.py": "", "other.py": ""},
            "load_entry_point('Lab-Tool==1.0', 'console_scripts', 'lab')()", {"labtool/main.py"},
        ),
        (
            {"fast-1.0.dist-info/top_level.txt": "fast\n_fast_backend\n",
             "fast.py": "def f():\n import _fast_backend\n", "_fast_backend.py": "", "_other.py": ""},
            "import fast", {"_fast_backend.py", "fast.py"},
        ),
        (
            {"fast/__init__.py": "try:\n    from . import _copy as x\nexcept ImportError:\n    import common as x\n",
             "common.py": "", "other.py": ""},
            "import fast", {"common.py", "fast/__init__.py"},
        ),
    ],
    ids=["entry points", "modules of a distribution", "instead of a copy"],
)  # fmt: skip
def test_modules_that_no_import_at_the_margin_names_were_missing(
    tmp_path: Path, files: dict[str, str], text: str, found: set[str]
) -> None:
    """scons, meson and each script of setuptools; cffi's _cffi_backend; cffi's pycparser in distributions."""
    made(tmp_path, {f"site/{name}": content for name, content in files.items()})
    made(tmp_path, {"script": text})
    sites = [str(tmp_path / "site")]
    imported = imported_by(Image(), [str(tmp_path / "script")], "", [], sites, str(tmp_path / "none"))
    paths = {each for path in (*imported.trees, *imported.files) for each in _files_below(Path(path))}
    assert found <= {os.path.relpath(path, sites[0]) for path in paths}
    assert not {path for path in paths if path.name in ("other.py", "_other.py")}


def _files_below(path: Path) -> list[Path]:
    return [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]


def test_a_package_of_the_project_requires_what_it_does_not_declare(tmp_path: Path) -> None:
    """A workspace: npm links packages/core into node_modules, from which other packages are found."""
    made(tmp_path, {"packages/core/src/index.js": "import x from '@lab/util';", "packages/core/package.json": "{}",
                    "packages/util/up.js": "", "packages/more/x.js": ""})  # fmt: skip
    (tmp_path / "node_modules/@lab").mkdir(parents=True)
    for name in ("core", "util", "more"):
        (tmp_path / "node_modules/@lab" / name).symlink_to(f"../../packages/{name}")
    text = b"import { a } from '@lab/core'"
    found = nodejs.packages_of(Image(), [(str(tmp_path / "apps"), text)], "")
    assert {os.path.basename(each.path) for each in found} == {"core", "util"}


def test_a_program_that_npm_installed_brings_its_package_and_what_that_depends_on(
    packed: Pack, tmp_path: Path
) -> None:
    """npm itself found no '../lib/cli.js'."""
    if shutil.which("node", path="/usr/bin:/bin") is None:
        pytest.skip("needs node")
    modules = tmp_path / "lib" / "node_modules"
    made(modules, {
        "@lab/tool/bin/cli.js": "#!/usr/bin/env node\nrequire(process.argv[2])\n", "@lab/tool/lib/main.js": "",
        "@lab/tool/package.json": '{"dependencies": {"dep": "1"}}', "dep/index.js": "", "other/index.js": "",
    })  # fmt: skip
    (modules / "@lab/tool/bin/cli.js").chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tool").symlink_to("../lib/node_modules/@lab/tool/bin/cli.js")
    found = sent(packed(tmp_path / "bin" / "tool"), modules)
    assert found == {"@lab/tool/bin/cli.js", "@lab/tool/lib/main.js", "@lab/tool/package.json", "dep/index.js"}


def test_a_program_with_python_in_it_brings_the_standard_library(
    packed: Pack, compiled: Compile, tmp_path: Path
) -> None:
    """gdb said that it had no module named encodings, at each start."""
    compiled("opt/lib/libpython3.77.so.1.0", "int py(void) { return 0; }", "-Wl,-soname,libpython3.77.so.1.0")
    made(tmp_path / "opt/lib/python3.77", {"os.py": "", "encodings/__init__.py": "", "test/x.py": ""})
    library = f"{tmp_path}/opt/lib/libpython3.77.so.1.0"
    source = "int py(void); int main(void) { return py(); }"
    program = compiled("opt/bin/embeds", source, library, f"-Wl,-rpath,{tmp_path}/opt/lib")
    found = sent(packed(program), tmp_path / "opt/lib")
    assert found == {"libpython3.77.so.1.0", "python3.77/os.py", "python3.77/encodings/__init__.py"}
