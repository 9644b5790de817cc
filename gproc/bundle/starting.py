"""The files that starting a program executes: scripts, `env`, and the ELF programs behind them."""

from __future__ import annotations

import stat

import msgspec

from gproc.bundle import script, which
from gproc.bundle.env import env_command, is_env
from gproc.bundle.image import Image, Walk
from gproc.bundle.linking import elf
from gproc.bundle.surroundings import Surroundings
from gproc.errors import BundleError, ProgramNotExecutable, ProgramNotFound
from gproc.shown import shown_text


class Started(msgspec.Struct, frozen=True):
    """Everything that is executed: the scripts, and the ELF programs that run them.

    programs: path and contents of each ELF file.  The kernel runs the first; if it is env, env runs the second.
    """

    scripts: tuple[str, ...]
    programs: tuple[tuple[str, elf.Elf], ...]


def started_by(image: Image, surroundings: Surroundings, program: str) -> Started:
    """Follow `#!` lines, and env, from a program to the ELF programs behind it.

    Raises: ProgramNotExecutable if the kernel could not run it here either; BundleError if it cannot be read.
    """
    scripts: list[str] = []
    programs: list[tuple[str, elf.Elf]] = []
    path = program
    while True:
        walk = image.walk(path)
        if walk is None or not stat.S_ISREG(walk.status.st_mode):
            raise ProgramNotExecutable(_no_interpreter(path, image.shown(path), image.shown(scripts[-1])))
        parsed, head = _read(image, path, walk)
        if parsed is not None:
            programs.append((path, parsed))
            return Started(tuple(scripts), tuple(programs))
        try:
            line = script.shebang(head, image.shown(path)) or script.without_line(head)
        except BundleError as error:
            raise ProgramNotExecutable(str(error)) from error
        if line is None:
            raise ProgramNotExecutable(f"{image.shown(path)}: is neither an ELF program nor a script")
        if len(scripts) == script.DEPTH_MAX:
            most = f"more than {script.DEPTH_MAX} interpreters of interpreters"
            raise ProgramNotExecutable(f"{image.shown(program)}: {most}")
        scripts.append(path)
        path = surroundings.absolute(line.interpreter)
        behind = script.behind_shell(head)
        if behind and (shell := _parsed_program(image, path)) is not None:
            programs.append((path, shell))
            path = behind
            continue
        if is_env(line.interpreter) and (env := _parsed_program(image, path)) is not None:
            programs.append((path, env))
            command = env_command(line.argument, image.shown(scripts[-1]), surroundings.variable)
            if command.program.endswith("\r"):
                named = shown_text(command.program)
                raise ProgramNotFound(_no_interpreter(command.program, named, image.shown(scripts[-1])))
            search_path = command.path if command.path is not None else surroundings.variable("PATH")
            path = which.find(image, command.program, search_path or which.DEFAULT_PATH, surroundings.absolute)


def _read(image: Image, path: str, walk: Walk) -> tuple[elf.Elf | None, bytes]:
    """The file's parsed contents if it is ELF, and its first bytes."""
    try:
        parsed = elf.read(image.host(walk.real), image.memo)
        with open(image.host(walk.real), "rb", buffering=0) as file:
            return parsed, file.read(script.LINE_BYTES)
    except elf.BadElf as error:
        raise ProgramNotExecutable(str(error)) from error
    except PermissionError as error:
        raise BundleError(f"{image.shown(path)}: cannot be packed: you may not read it") from error


def _no_interpreter(interpreter: str, named: str, of: str) -> str:
    """Why a script cannot be run if its interpreter does not exist.  named: the interpreter, for people."""
    if interpreter.endswith("\r"):
        return (
            f"{of}: its lines end as on Windows, so the interpreter on its #! line would be "
            f"{named}: take the carriage returns away, as by sed -i 's/\\r$//'"
        )
    return f"{named}: the interpreter of {of} is not there"


def _parsed_program(image: Image, path: str) -> elf.Elf | None:
    walk = image.walk(path)
    return None if walk is None else elf.read(image.host(walk.real), image.memo)
