"""Made while gproc is installed: its static helper, if there is a C compiler; man pages; completion of shells."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HELPER = "gproc/native/gproc-helper"


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """`GPROC_TARGET`: the machine that the wheel is for, if it is another one: x86_64 or aarch64."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._share(build_data)
        build = _build_module(Path(self.root))
        helper = Path(self.root, HELPER)
        target = os.environ.get("GPROC_TARGET") or platform.machine()
        if version == "editable":
            made = helper
        else:
            made = Path(self.directory, f"{helper.name}.{target}")
            made.parent.mkdir(parents=True, exist_ok=True)
        try:
            build.build(made, target=target)
        except build.NotBuilt as error:
            if os.environ.get("GPROC_TARGET"):
                raise
            # pip shows no warnings of hatch.  So the wheel contains the reason, and `gproc i` shows it.
            self.app.display_warning(f"gproc's static helper is not built: {error}; jobs will be started by Python")
            why = build.why_at(made)
            if version != "editable" and why.exists():
                build_data["force_include"][str(why)] = f"{HELPER}.why"
            return
        self.app.display_info(f"gproc's static helper is built: {made}")
        if version != "editable":
            build_data["force_include"][str(made)] = HELPER
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-linux_{target}"

    def _share(self, build_data: dict[str, Any]) -> None:
        """Man pages and completion scripts, from the same tables as the command line: below PREFIX/share."""
        sys.path.insert(0, self.root)
        try:
            from gproc.cli.man import pages
            from gproc.cli.shells import SHELLS
        except ImportError as error:  # with --no-build-isolation, if msgspec is missing
            self.app.display_warning(f"gproc's man pages are not installed: {error}")
            return
        finally:
            sys.path.remove(self.root)
        files = {f"man/man1/{name}": text for name, text in pages()} | {shell.shared: shell.script for shell in SHELLS}
        for name, text in files.items():
            made = Path(self.directory, "share", name)
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_text(text, encoding="utf-8")
            build_data["shared_data"][str(made)] = f"share/{name}"


def _build_module(root: Path) -> Any:
    """By its path: gproc itself cannot be imported if only hatch is installed."""
    spec = importlib.util.spec_from_file_location("gproc_native_build", root / "gproc/native/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
