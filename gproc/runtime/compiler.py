"""Compiles modules for a runtime: `python -I -S -X no_debug_ranges compiler.py`, a process of its own.

It imports nothing of gproc.  On standard input comes JSON: the path of each module's text, by its place.  On standard
output goes the code of one after the other, each behind its length in four bytes, big-endian.

Trust: it reads files of the installation that runs, as its user; nothing of them is executed.
"""

from __future__ import annotations

import ast
import json
import marshal
import sys
from types import CodeType


class _Annotations(ast.NodeTransformer):
    """Takes off the annotations of functions and of a module's variables: nothing on a node asks for them.

    Those of a class stay: msgspec, dataclasses and named tuples are made of them.  So do those of a decorated function,
    for which `functools.singledispatch` asks.  Those of local variables make no code, but say which names are local.
    """

    def __init__(self) -> None:
        self._in_module = True

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._without(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._without(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if not self._in_module or not isinstance(node.target, ast.Name):
            return node
        changed = ast.Pass() if node.value is None else ast.Assign([node.target], node.value)
        return ast.copy_location(changed, node)

    def _without(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        if not node.decorator_list:
            node.returns = None
            of = node.args
            for argument in (*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg):
                if argument is not None:
                    argument.annotation = None
        return self._inside(node)

    def _inside(self, node: ast.AST) -> ast.AST:
        before, self._in_module = self._in_module, False
        try:
            return self.generic_visit(node)
        finally:
            self._in_module = before


def code_of(text: bytes, name: str) -> CodeType:
    """Without what no node shows: docstrings, assertions, and annotations that are no part of a type.

    Raises: SyntaxError, ValueError.
    """
    tree = _Annotations().visit(ast.parse(text, name))
    return compile(tree, name, "exec", dont_inherit=True, optimize=2)


def main() -> None:
    out = sys.stdout.buffer
    for place, path in json.load(sys.stdin).items():
        try:
            with open(path, "rb") as file:
                code = marshal.dumps(code_of(file.read(), f"{place}.py"))
        except OSError as error:
            sys.exit(f"{path}: cannot be packed: {error.strerror}")
        except (SyntaxError, ValueError) as error:
            sys.exit(f"{path}: cannot be compiled: {error}")
        out.write(len(code).to_bytes(4, "big") + code)


if __name__ == "__main__":
    main()
