"""Imports point one way: edges -> I/O -> pure.  Libraries that are slow to import are imported only if needed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import gproc

PACKAGE = Path(gproc.__file__).parent
IO_MODULES = {
    "asyncio", "ctypes", "fcntl", "os", "select", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile",
    "threading", "time",
}  # fmt: skip

ORDER = (
    "errors", "shown", "addresses", "collecting", "descriptors", "environment", "interpreter", "logstream", "readiness",
    "request", "boxes", "nodespec", "naming", "content", "disk", "wire", "tree", "bundle", "packager", "store",
    "locales", "trust", "policy", "link", "root", "spread", "copy", "native", "launch", "relay", "node",
    "tasks", "records", "service",
    "client", "runtime", "start", "web", "top", "master", "slave", "cli", "__main__", "adapters", "gfork",
)  # fmt: skip
"""Every package, after all that it imports.  docs/architecture.md describes them in the same order."""

NAMES_ONLY = {"request.signals": {"signal"}, "request.wording": {"signal"}, "cli.kinds": {"signal"}}
"""Rules that need a library only for names and numbers, here those of signals."""

VALUES = {
    "", "launch.cgroup", "launch.protocol", "locales", "root.facts", "root.layers", "service.draining",
    "trust.revocations", "trust.signing", "trust.stamp", "trust.ticket", "trust.tls",
}  # fmt: skip
"""What rules may import besides each other: modules that do more, for types that rules take and functions of values."""

ONLY = {
    "ssl": {"trust.tls", "link.transport"},
    "lief": {"bundle.linking.elf"},
    "cryptography": {"trust.certificates"},
    "ctypes": {"policy.account", "root.kernel", "start.ssh", "trust.caller", "bundle.tracing.ptrace", "descriptors"},
    "typer": {"cli.installing"},
    "shellingham": {"cli.installing"},
    "asyncssh": {"start.ssh", "start.login", "start.user_config"},
    "ClusterShell": {"naming.expanding"},
    "rich": {"cli.progress", "top.app", "top.text"},
    "textual": {"top.app", "top.node_tree"},
    "zstandard": {"spread.incoming", "bundle.containers.images"},
    "starlette": {"web.app", "web.serving"},
    "uvicorn": {"web.serving"},
    "prometheus_client": {"web.figures"},
    "psij": {"adapters.psij.specification", "adapters.psij.executor"},
}
"""The only modules that may import a library, at their top or inside a function."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_bytes())


def is_for_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


SAYING_SO = re.compile(r"\bPure\b")

PURE = {
    "adapters.rsh.login", "store.room",
    *(name for name in SOURCES if SAYING_SO.search(ast.get_docstring(tree_of(name)) or "")),
}  # fmt: skip
"""Rules and values, without I/O: the modules whose docstring says "Pure", and two more."""


@cache
def nodes_of(module: str, *, typing: bool = False) -> tuple[ast.AST, ...]:
    """All nodes of a module.  Without `typing`, those under `if TYPE_CHECKING` are left out."""
    found: list[ast.AST] = [tree_of(module)]
    for node in found:  # which grows meanwhile
        found += (child for child in ast.iter_child_nodes(node) if typing or not is_for_type_checking(child))
    return tuple(found)


@cache
def imports_of(module: str, *, typing: bool = False) -> frozenset[str]:
    """Full names of the modules that a module of ours imports, at any depth of its code."""
    found: set[str] = set()
    for node in nodes_of(module, typing=typing):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def top(name: str) -> str:
    return name.partition(".")[0]


@cache
def ours_of(module: str, *, typing: bool = False) -> frozenset[str]:
    names = {name.removeprefix("gproc.") for name in imports_of(module, typing=typing) if name.startswith("gproc.")}
    return frozenset(names & SOURCES.keys())


@pytest.mark.parametrize("module", [name for name in SOURCES if name])
def test_every_import_points_down(module: str) -> None:
    floor = ORDER.index(top(module))
    assert {name for name in ours_of(module, typing=True) if name and ORDER.index(top(name)) > floor} == set()


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_rule_imports_nothing_that_touches_the_world(module: str) -> None:
    assert {top(name) for name in imports_of(module)} & IO_MODULES <= NAMES_ONLY.get(module, set())


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_rule_imports_only_rules(module: str) -> None:
    packages = {name.rpartition(".")[0] for name in PURE} | {top(name) for name in PURE}
    assert ours_of(module) <= {*PURE, *VALUES, *packages}


@pytest.mark.parametrize("library", ONLY)
def test_a_library_has_one_door(library: str) -> None:
    users = {module for module in SOURCES if library in {top(name) for name in imports_of(module)}}
    assert users <= ONLY[library]


def test_only_the_edge_prints() -> None:
    printing = {
        module
        for module in SOURCES
        for node in nodes_of(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert {module for module in printing if not module.startswith("cli.")} == set()


def test_one_module_says_where_a_users_home_is() -> None:
    """os.path.expanduser gives "~", "/" or a relative path for some, which would be made or read there."""
    asking = {
        module
        for module in SOURCES
        for node in nodes_of(module)
        if isinstance(node, ast.Attribute) and node.attr in ("expanduser", "pw_dir")
    }
    assert asking == {"environment"}


def test_nothing_is_unpickled_or_evaluated() -> None:
    writing, reading = {"runtime.compiler", "runtime.modulefile"}, {"runtime.importing"}
    for module in SOURCES:
        # A runtime's Python reads its own modules, as every Python does.
        allowed = {"marshal"} if module in writing | reading else set()
        assert not {"pickle", "marshal", "shelve"} & {top(name) for name in imports_of(module)} - allowed, module
        for node in nodes_of(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), module


def test_no_module_is_longer_than_one_noun_needs() -> None:
    long = {module for module, path in SOURCES.items() if len(path.read_bytes().splitlines()) > 400}
    assert long == set()


HEAVY = {"lief", "typer", "click", "rich", "cryptography", "asyncssh", "zstandard", "ClusterShell"}

PATHS = {
    "gproc e": ("gproc.cli.main gproc.cli.exec", HEAVY | {"asyncio", "ssl"}),
    "gproc start": (
        "gproc.cli.main gproc.cli.started gproc.start.commission gproc.trust.carried gproc.slave gproc.root.planner",
        HEAVY | {"calendar", "shutil", "tempfile", "ipaddress", "shlex"},
    ),
    "gproc s": (
        "gproc.cli.main gproc.cli.slave gproc.slave gproc.root.planner gproc.trust.identity",
        HEAVY | {"calendar", "shutil", "tempfile"},
    ),
}


@pytest.mark.parametrize("path", PATHS)
def test_starting_loads_nothing_heavy(path: str) -> None:
    modules, forbidden = PATHS[path]
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, *modules.split()],
        capture_output=True, text=True, check=True, cwd=PACKAGE.parent, timeout=60,
    )  # fmt: skip
    assert {top(name) for name in done.stdout.split()} & forbidden == set()


SYSTEM_ERRORS = {"OSError", *(kind.__name__ for kind in OSError.__subclasses__())}


def names_in(node: ast.AST | None) -> set[str]:
    return set() if node is None else {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def raw_texts_of(handler: ast.ExceptHandler) -> Iterator[int]:
    """Lines of a handler of system errors in which its error becomes text as Python writes it: "[Errno 2] ..."."""
    for node in ast.walk(handler):
        match node:
            case ast.FormattedValue(value=ast.Name(id=name)) | ast.Call(
                func=ast.Name(id="str"), args=[ast.Name(id=name)]
            ):
                if name == handler.name:
                    yield node.lineno
            case _:
                pass


def test_no_message_has_a_system_error_as_python_writes_it() -> None:
    """`gproc.shown.reason_of` makes words of it."""
    raw = {
        f"{module}:{line}"
        for module in SOURCES
        for handler in nodes_of(module, typing=True)
        if isinstance(handler, ast.ExceptHandler) and (handler.type is None or names_in(handler.type) & SYSTEM_ERRORS)
        for line in raw_texts_of(handler)
    }
    assert raw == set()


def test_whoever_decodes_expects_a_thousand_levels() -> None:
    """msgspec raises RecursionError for these, also in what it passes over: no other end may bring us that far."""
    forgotten = {
        f"{module}:{handler.lineno}"
        for module in SOURCES
        for handler in nodes_of(module, typing=True)
        if isinstance(handler, ast.ExceptHandler) and handler.type is not None
        if "msgspec.DecodeError" in (caught := ast.unparse(handler.type)) and "RecursionError" not in caught
    }
    assert forgotten == set()
