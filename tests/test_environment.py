"""What the environment says of the caller."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gproc.environment import user_home


def test_a_user_without_a_home_gets_no_directory_called_tilde(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be a user whom nobody knows")
    tmp_path.chmod(0o777)
    code = (
        "import os, pwd\n"
        "from gproc.bundle.cache import default_directory\n"
        "from gproc.environment import user_home\n"
        "os.setresuid(4777, 4777, 4777)\n"
        "print(repr(user_home(os.environ)), default_directory(os.environ))"
    )
    environ = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout.split()[0], done.stderr) == ("''", "")
    assert not done.stdout.split()[1].startswith(("/root", "~", "."))


def test_a_home_that_is_no_absolute_path_is_none() -> None:
    assert user_home({"HOME": "/h"}) == "/h"
    for named in ({"HOME": "relative"}, {"HOME": ""}, {"HOME": "~"}, {}):
        assert os.path.isabs(user_home(named))
