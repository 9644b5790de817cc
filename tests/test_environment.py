"""What the environment says of the caller."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gproc.bundle.cache import default_directory
from gproc.environment import expanded, user_home


def test_a_user_without_a_home_gets_no_directory_called_tilde(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be a user whom nobody knows")
    tmp_path.chmod(0o777)
    code = (
        "import os, pwd\n"
        "from gproc.bundle.cache import default_directory\n"
        "from gproc.environment import expanded, user_home\n"
        "os.setresuid(4777, 4777, 4777)\n"
        "print(repr(user_home(os.environ)), default_directory(os.environ))"
    )
    environ = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout.split()[0], done.stderr) == ("''", "")
    assert not done.stdout.split()[1].startswith(("/root", "~", "."))


def test_root_makes_no_home_that_is_not_there(tmp_path: Path) -> None:
    """HOME=/nonexist: root's `gproc e` made /nonexist, for its cache."""
    absent, home = tmp_path / "absent", tmp_path / "home"
    home.mkdir()
    assert not default_directory({"HOME": str(absent)}).startswith(str(tmp_path))
    assert default_directory({"HOME": str(home)}) == f"{home}/.cache/gproc/bundles"
    assert default_directory({"HOME": str(absent), "XDG_CACHE_HOME": f"{tmp_path}/c"}) == f"{tmp_path}/c/gproc/bundles"


def test_a_home_that_is_no_absolute_path_is_none() -> None:
    assert user_home({"HOME": "/h"}) == "/h"
    for named in ({"HOME": "relative"}, {"HOME": ""}, {"HOME": "~"}, {}):
        assert os.path.isabs(user_home(named))


def run(code: str, **environ: str) -> str:
    """What Python says that has only these variables."""
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("home", ["", "relative", "~"])
def test_ssh_looked_for_its_files_below_the_root_or_the_working_directory_if_home_is_no_path(home: str) -> None:
    """HOME= in a unit or a crontab: known_hosts was /.ssh/known_hosts, for asyncssh's own files too."""
    code = (
        "from gproc.start.ssh import import_asyncssh; import_asyncssh()\n"
        "from pathlib import Path; from gproc.environment import expanded\n"
        "print(expanded('~/.ssh/known_hosts'), Path('~', '.ssh', 'config').expanduser())"
    )
    own = user_home({})
    assert run(code, HOME=home) == f"{own}/.ssh/known_hosts {own}/.ssh/config\n"


def test_a_user_without_a_home_is_told_that_ssh_needs_one() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be a user whom nobody knows")
    code = (
        "import asyncio, os; from gproc.start.ssh import SshFailed, Ways, open_channel\n"
        "os.setresuid(4777, 4777, 4777)\n"
        "try: asyncio.run(open_channel('h', 'true', Ways()))\n"
        "except SshFailed as error: print(error)"
    )
    assert run(code) == "uid 4777 has no home directory, and so no ~/.ssh: set HOME\n"


def test_groups_of_a_user_whose_config_home_is_relative_were_not_found(tmp_path: Path) -> None:
    """The base directory specification has it count as unset, and so does gproc elsewhere."""
    place = tmp_path / ".config" / "clustershell"
    place.mkdir(parents=True)
    (place / "groups.conf").write_text("[Main]\ndefault: local\n[local]\nmap: echo n1\n")
    code = (
        "from gproc.naming.expanding import names_of; from gproc.naming.words import Words\n"
        "print(names_of(Words.parse('@g').hosts, lambda _: ()))"
    )
    assert run(code, HOME=str(tmp_path), XDG_CONFIG_HOME="relative", PATH=os.environ["PATH"]) == "['n1']\n"


def test_the_home_of_another_user_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert [expanded(path) for path in ("~", "~/x", "/a/~", "a~")] == ["/h", "/h/x", "/a/~", "a~"]
    assert expanded("~root/x") == os.path.expanduser("~root/x")
