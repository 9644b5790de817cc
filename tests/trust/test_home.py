from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gproc.errors import TrustError
from gproc.trust.home import InsecureFile, check_private, gproc_home, read_file, write_file


def mode_of(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"GPROC_HOME": "{0}/a", "XDG_CONFIG_HOME": "{0}/x", "HOME": "{0}"}, "{0}/a"),
        ({"XDG_CONFIG_HOME": "{0}/x", "HOME": "{0}"}, "{0}/x/gproc"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "{0}"}, "{0}/.config/gproc"),
        ({"GPROC_HOME": "", "HOME": "{0}"}, "{0}/.config/gproc"),
    ],
)
def test_the_home_is_gproc_home_else_xdg_else_dot_config(
    tmp_path: Path, environ: dict[str, str], expected: str
) -> None:
    filled = {name: value.format(tmp_path) for name, value in environ.items()}
    assert gproc_home(filled) == expected.format(tmp_path)


def test_a_new_home_is_closed_to_others_for_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = gproc_home({"GPROC_HOME": str(tmp_path / "deep" / "home")})
        write_file(f"{home}/key", b"secret", 0o600)
    finally:
        os.umask(before)
    assert (mode_of(home), mode_of(f"{home}/key")) == (0o700, 0o600)


def test_a_home_that_others_can_read_is_refused_with_the_chmod_to_run(tmp_path: Path) -> None:
    home = tmp_path / "my home"
    home.mkdir(mode=0o700)
    home.chmod(0o755)
    with pytest.raises(InsecureFile) as refused:
        gproc_home({"GPROC_HOME": str(home)})
    command = f"chmod 0700 '{home}'"
    assert command in str(refused.value)
    os.system(command)
    assert gproc_home({"GPROC_HOME": str(home)}) == str(home)


def test_a_key_of_another_user_is_refused(tmp_path: Path, root_only: None) -> None:
    key = tmp_path / "ca.key"
    key.write_bytes(b"")
    key.chmod(0o600)
    os.chown(key, 65534, 65534)
    with pytest.raises(InsecureFile, match="belongs to uid 65534"):
        check_private(str(key))


def test_a_home_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_bytes(b"")
    with pytest.raises(TrustError, match="cannot make"):
        gproc_home({"GPROC_HOME": str(tmp_path / "home")})


def test_a_file_that_cannot_be_written_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(TrustError, match="cannot write"):
        write_file(str(tmp_path / "taken"), b"data", 0o600)
    assert os.listdir(tmp_path) == ["taken"]


def test_a_file_without_an_end_is_not_read_until_memory_is_full() -> None:
    with pytest.raises(TrustError, match="cannot read /dev/zero: it has more than 64 MiB"):
        read_file("/dev/zero")
