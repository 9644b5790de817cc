"""requirements.lock holds what pyproject.toml asks for, each by digest."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_every_package_that_is_asked_for_is_locked_and_has_digests() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=]", line)[0].lower() for line in asked}
    locked = re.findall(
        r"^([a-z0-9.-]+)==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", (TOP / "requirements.lock").read_text(), re.M
    )
    assert names <= set(locked)
    assert len(locked) == (TOP / "requirements.lock").read_text().count("==")
