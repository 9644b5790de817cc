"""What a runtime's Python imports first: it finds all other modules in one file, `modulefile`.

A slave imports some 330 modules.  Python would look for each of them in directories, and read a file of its own: 7 % of
the processor time of a slave's start, and a quarter of its wall time if nothing has read these files lately.

In a runtime this module stands in the place of `encodings`, the first module that Python reads from a file, however it
was started; then it goes on as the real one.  So it can import only what is built into the interpreter: not even
`__future__`.

Trust: it executes what lies beside it, as Python does with every directory of modules.
"""

import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, SourcelessFileLoader
from _imp import is_frozen

TYPE_CHECKING = False  # as in `typing`, which is in no interpreter
if TYPE_CHECKING:
    from types import CodeType

FILE = "modules"
"""Beside the directories of modules."""

LENGTH_BYTES = 4
"""The file begins with the length of its index."""


class ModuleLoader(SourcelessFileLoader):
    """Loads one module.  Its path is the one at which it would be if it had a file of its own.

    start, size: of its code in the file, in bytes.
    """

    def __init__(self, name: str, path: str, file: str, start: int, size: int) -> None:
        super().__init__(name, path)
        self._file = file
        self._start = start
        self._size = size

    def get_code(self, fullname: str) -> "CodeType | None":
        code: CodeType = marshal.loads(read(self._file, self._start, self._size))
        return code


class ModuleFinder:
    """Finds the modules of one file.  home: its directory."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._file = f"{home}/{FILE}"
        size = int.from_bytes(read(self._file, 0, LENGTH_BYTES), "little")
        self._codes, self._extensions = marshal.loads(read(self._file, LENGTH_BYTES, size))
        self._start = LENGTH_BYTES + size

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if is_frozen(name):  # the interpreter has it in itself, and the next finder finds it
            return None
        place = self._codes.get(name)
        if place is None:
            extension = self._extensions.get(name)
            if extension is None:
                return None
            path = f"{self._home}/{extension}"
            return _spec(ExtensionFileLoader(name, path), name, path)
        start, size, is_package = place
        directory = f"{self._home}/{name.replace('.', '/')}"
        path = f"{directory}/__init__.pyc" if is_package else f"{directory}.pyc"
        spec = _spec(ModuleLoader(name, path, self._file, self._start + start, size), name, path)
        spec.cached = path
        if is_package:
            spec.submodule_search_locations = [directory]
        return spec


def _spec(loader: SourcelessFileLoader | ExtensionFileLoader, name: str, path: str) -> ModuleSpec:
    spec = ModuleSpec(name, loader, origin=path)
    spec.has_location = True
    return spec


def read(file: str, start: int, size: int) -> bytes:
    """The file is opened each time, because code that closes all descriptors would close one that stayed open.

    Raises: ImportError if it is too short.
    """
    descriptor = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        found = posix.pread(descriptor, size, start)
    finally:
        posix.close(descriptor)
    if len(found) != size:
        raise ImportError(f"{file} is too short")
    return found


def begin(module: str, path: str) -> None:
    """Go on as the module that was asked for.  path: this file as it stands in the runtime."""
    finder = ModuleFinder(path.rpartition("/encodings/")[0])
    sys.meta_path.insert(0, finder)
    spec = finder.find_spec(module)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(sys.modules[module])


if __name__ == "encodings":
    begin(__name__, __file__)
