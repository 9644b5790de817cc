"""What is taken off the code of a runtime's modules, and what is left because something on a node asks for it."""

from __future__ import annotations

import ast
import marshal
from collections.abc import Iterator
from types import CodeType
from typing import Any

import pytest

from gproc.runtime.compiler import code_of
from gproc.runtime.compiling import compiled_modules
from gproc.runtime.modules import modules_of_a_slave

ASK_BY_PURPOSE = {"functools", "inspect", "msgspec/_utils", "typing", "dataclasses"}
"""They have a function that does, which others would have to call; msgspec's asks classes."""

ASKING = {"get_type_hints", "get_annotations"}


def run(text: str) -> dict[str, Any]:
    module: dict[str, Any] = {"__name__": "m"}
    exec(code_of(text.encode(), "m.py"), module)
    return module


def test_annotations_of_functions_and_of_a_module_are_taken_off() -> None:
    module = run(
        "limit: int = 5\n"
        "unset: int\n"
        "if limit: other: int = 6\n"
        "def f(a: int, /, b: str = '', *c: int, d: bool = True, **e: int) -> bytes:\n"
        "    def inner(x: int) -> int: return x\n"
        "    return a, b, c, d, e, inner\n"
        "async def g(x: int) -> int: pass\n"
    )
    assert (module["limit"], module["other"]) == (5, 6)
    assert "__annotations__" not in module
    assert "unset" not in module
    *arguments, inner = module["f"](1, "2", 3, d=False, e=4)
    assert arguments == [1, "2", (3,), False, {"e": 4}]
    assert not module["f"].__annotations__ and not module["g"].__annotations__ and not inner.__annotations__


def test_annotations_of_a_class_are_left() -> None:
    module = run(
        "import typing, msgspec\n"
        "class T(typing.NamedTuple):\n"
        "    a: int\n"
        "    b: str = ''\n"
        "class S(msgspec.Struct):\n"
        "    if True:\n"
        "        c: int\n"
        "    def d(self, e: int) -> int: return self.c + e\n"
        "def local():\n"
        "    class L(msgspec.Struct):\n"
        "        c: int\n"
        "    return L\n"
    )
    assert module["T"](1) == (1, "")
    assert module["S"](1).d(2) == 3
    assert not module["S"].d.__annotations__
    assert module["local"]()(7).c == 7


def test_an_annotation_makes_a_name_local_as_before() -> None:
    module = run(
        "x = 1\n"
        "def f():\n"
        "    x: int\n"
        "    def g():\n"
        "        nonlocal x\n"
        "        x = 2\n"
        "    g()\n"
        "    if x: y: int = 3\n"
        "    return x, y\n"
    )
    assert module["f"]() == (2, 3)
    assert module["x"] == 1


def test_a_decorator_and_a_default_are_left() -> None:
    module = run("def twice(f): return lambda: 2 * f()\n@twice\ndef f(a: int = 4) -> int: return a\n")
    assert module["f"]() == 8


@pytest.mark.stress
def test_no_module_of_a_slave_asks_functions_for_annotations() -> None:
    texts = {module.place: module.source for module in modules_of_a_slave() if not module.is_extension}
    asking = {
        place
        for place, code in compiled_modules(texts).items()
        if ASKING & set(names_in(marshal.loads(code)))
    }
    assert asking <= ASK_BY_PURPOSE


def names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from names_in(each)


def test_lines_stay() -> None:
    text = "\n\nlimit: int = 5\n\n\ndef f(\n    a: int,\n) -> int:\n    return a.b\n"
    code = code_of(text.encode(), "m.py")
    inner = next(each for each in code.co_consts if isinstance(each, CodeType))
    plain = compile(ast.parse(text), "m.py", "exec", optimize=2)
    of_plain = next(each for each in plain.co_consts if isinstance(each, CodeType))
    assert {line for _, _, line in code.co_lines()} <= {line for _, _, line in plain.co_lines()}
    assert list(inner.co_lines()) == list(of_plain.co_lines())
    assert inner.co_firstlineno == 6
