"""How busy a machine is, as its kernel tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gproc.node.burden import load_of_this_machine, memory_in


def test_a_node_says_its_load_and_its_memory() -> None:
    load = load_of_this_machine(7)
    assert (load.serial, load.loads[0][0]) == (7, ())
    [(route, (all_bytes, available_bytes))] = load.memory
    assert route == () and all_bytes > available_bytes > 0


@pytest.mark.parametrize(
    "text", ["", "MemTotal: 8 kB\n", "MemTotal: much\nMemAvailable: 1 kB\n", "MemTotal:\nMemAvailable:\n"]
)
def test_a_kernel_that_does_not_say_it_is_no_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "meminfo"
    path.write_text(text)
    assert memory_in(str(path)) is None
    assert memory_in(str(tmp_path / "none")) is None


def test_amounts_are_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:        2 kB\nMemFree:  9 kB\nMemAvailable:    1 kB\n")
    assert memory_in(str(path)) == (2048, 1024)
