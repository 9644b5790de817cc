"""`#!` lines are read as the kernel does, and `env -S` as the real env of coreutils does."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproc.bundle.env import EnvCommand, env_command
from gproc.bundle.env_string import split_string
from gproc.bundle.script import Shebang, shebang
from gproc.errors import BundleError, ProgramNotExecutable, ProgramNotFound
from gproc.packager import Bundle

Pack = Callable[..., Bundle]


def nothing(_: str) -> str | None:
    return None


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"#!/bin/sh\n", Shebang("/bin/sh", "")),
        (b"#! \t/bin/sh  -e -u \t\nmore", Shebang("/bin/sh", "-e -u")),
        (b"#!/usr/bin/env\tpython3 -u\n", Shebang("/usr/bin/env", "python3 -u")),
        (b"#!/bin/sh", Shebang("/bin/sh", "")),
        (b"\x7fELF", None),
        (b"#!\n", None),
        (b"#!   \n", None),
        (b" #!/bin/sh\n", None),
    ],
)
def test_a_first_line_names_an_interpreter_and_one_argument(head: bytes, expected: Shebang | None) -> None:
    assert shebang(head, "x") == expected


def test_a_first_line_that_is_too_long_for_the_kernel_is_an_error() -> None:
    with pytest.raises(BundleError, match="#! line"):
        shebang(b"#!/" + b"x" * 300, "x")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("python3", EnvCommand("python3", None)),
        ("-S python3 -u", EnvCommand("python3", None)),
        ("-Spython3 -u", EnvCommand("python3", None)),
        ("-vS python3", EnvCommand("python3", None)),
        ("--split-string=python3 -u", EnvCommand("python3", None)),
        ("-S -i A=1 B='x y' python3", EnvCommand("python3", "")),
        ("-S PATH=/opt/bin python3", EnvCommand("python3", "/opt/bin")),
        ("-S -u PATH python3", EnvCommand("python3", "")),
        ("-S --unset=X -C /tmp -- prog", EnvCommand("prog", None)),
        ("-S ${HOME}/bin/prog", EnvCommand("/home/me/bin/prog", None)),
        (r"-S 'a b'\_c", EnvCommand("a b", None)),
    ],
)
def test_env_runs_the_first_word_that_is_not_an_option(argument: str, expected: EnvCommand) -> None:
    assert env_command(argument, "x", {"HOME": "/home/me"}.get) == expected


@pytest.mark.parametrize("argument", ["", "-S", "-S A=1", "-S 'open", "-S $HOME", r"-S \q", "-x", "python3=1"])
def test_env_without_a_program_or_with_bad_words_is_an_error(argument: str) -> None:
    with pytest.raises(BundleError, match="#! line"):
        env_command(argument, "x", nothing)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab '\"\\_#$\t{}HOMEcnt", max_size=14))
def test_a_string_is_split_as_env_splits_it(text: str) -> None:
    if shutil.which("env") is None:
        pytest.skip("needs env(1) to compare with")
    environ = {"HOME": "/h m", "LC_ALL": "C"}
    done = subprocess.run(
        ["/usr/bin/env", "-S" + r"printf [%s]\\n first " + text],
        capture_output=True,
        text=True,
        env=environ,
        timeout=60,
    )
    try:
        ours = split_string(r"printf [%s]\\n first " + text, "x", environ.get)
    except BundleError:
        assert done.returncode == 125
        return
    assert done.stdout == "".join(f"[{word}]\n" for word in ours[2:])


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    return write


Write = Callable[[str, str], Path]


def names(bundle: Bundle) -> set[str]:
    return {os.path.basename(os.fsdecode(file.path)) for file in bundle.manifest.files()}


def test_a_script_whose_interpreter_is_a_script_takes_both_and_the_shell(
    script: Write, packed: Pack, run_on_empty_node: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    inner = script("inner", "#!/bin/sh\necho inner $1\n")
    bundle = packed(script("outer", f"#!{inner}\nnot read\n"))
    assert {"outer", "inner", os.path.basename(os.path.realpath("/bin/sh"))} <= names(bundle)
    assert run_on_empty_node(bundle).stdout == f"inner {inner.parent}/outer\n"


def test_env_goes_along_with_the_program_that_it_runs(
    script: Write, packed: Pack, run_on_empty_node: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    bundle = packed(script("prog", "#!/usr/bin/env -S A='1 2' bash -u\necho $A\n"))
    assert {"env", "bash"} <= names(bundle)
    assert bundle.manifest.loader
    assert run_on_empty_node(bundle).stdout == "1 2\n"


def test_a_script_that_interprets_itself_ends(script: Write, packed: Pack, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="more than 5 interpreters"):
        packed(script("loop", f"#!{tmp_path}/loop\n"))


def test_a_missing_interpreter_is_named(script: Write, packed: Pack) -> None:
    with pytest.raises(BundleError, match=r"/nowhere/at-all: the interpreter of .*/prog is not there"):
        packed(script("prog", "#!/nowhere/at-all\n"))
    with pytest.raises(ProgramNotFound, match="no-such-language"):
        packed(script("other", "#!/usr/bin/env no-such-language\n"))


def test_a_text_without_a_first_line_is_run_by_a_shell(script: Write, packed: Pack) -> None:
    manifest = packed(script("prog", "echo hello\n")).manifest
    assert b"sh" in {os.path.basename(each.path) for each in manifest.entries}
    with pytest.raises(ProgramNotExecutable, match="neither an ELF program nor a script"):
        packed(script("data", "\0 no text"))
