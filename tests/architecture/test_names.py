"""One name is one thing: no two modules define classes or types of the same name."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.architecture.test_imports import SOURCES, tree_of

SHARED = {
    "UserNumber": "the same bounds, in the request and in the manifest, which import nothing of each other",
    "Number": "the bounds of a number in the manifest and in messages",
    "Kind": "of a switch's value, and of an operation of the static helper",
    "Identity": "of a process: its user and groups, or the cluster's certificate and key",
    "Child": "of a node in the tree, and of gfork: the name that its users import",
    "Master": "gproc's own, and of gfork: the name that its users import",
    "Started": "what a program's start executes, and an event of the library",
}
"""Names that two modules may have, and why."""


def names_of(tree: ast.Module) -> set[str]:
    """Public classes, and types that a name in CamelCase is given to."""
    found = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if name[0].isupper() and not name.isupper() and len(name) > 1}


def test_no_name_is_two_things() -> None:
    modules: dict[str, set[str]] = defaultdict(set)
    for module in SOURCES:
        for name in names_of(tree_of(module)):
            modules[name].add(module)
    twice = {name: where for name, where in modules.items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if name not in SHARED} == {}
