"""Files that torch.save wrote before version 1.6: checks before PyTorch reads one.

Five pickles (magic number, version, machine, the object, names of its storages), then each storage: the
number of its elements in eight bytes, and the elements.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.own_network import OWN_NETWORK
from dfad_core.formats.pickled import READ_ERRORS

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
VERSION = 1001
ELEMENT_BYTES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1,
    "Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8,
}  # fmt: skip
"""By the name of a storage's class, without "Storage"."""
COUNT_BYTES = 8
MAX_NAMES = 1000
"""Largest number of different classes and functions that a pickle names."""


@dataclass(frozen=True)
class _Storage:
    """A storage as the object's pickle names it."""

    element_bytes: int
    elements: int


class _Nothing:
    """Takes the place of every class and function that a pickle names: it keeps and does nothing."""

    name = ""

    def __new__(cls, *_arguments: object, **_named: object) -> _Nothing:
        return object.__new__(cls)

    def __init__(self, *_arguments: object, **_named: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def append(self, _item: object) -> None:
        """For an entry of a list."""

    extend = append


class _Scan(pickle.Unpickler):
    """Walks a pickle without importing or calling anything, and collects the storages that it names."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self._names: dict[tuple[str, str], type[_Nothing]] = {}
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """See pickle.Unpickler. Raises TeacherRejected (`structure_limit`)."""
        if (module, name) not in self._names:
            if len(self._names) >= MAX_NAMES:
                text = f"The pickle names more than {MAX_NAMES} classes."
                raise TeacherRejected(text, code="structure_limit")
            self._names[module, name] = type("_Nothing", (_Nothing,), {"name": f"{module}.{name}"})
        return self._names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """See pickle.Unpickler. Raises TeacherRejected (`unsafe_pickle`, `tensor_layout`), ValueError."""
        if isinstance(pid, tuple) and pid[:1] == ("module",):
            text = (
                "The file contains a network's class, which is code. Of a network of the catalogue save the "
                f"weights alone (its state dict). {OWN_NETWORK}"
            )
            raise TeacherRejected(text, code="unsafe_pickle")
        kind, key, _place, elements, view = _fields(pid)
        if view is not None:
            raise TeacherRejected(
                "The file contains a view of a storage, which is not supported.", code="tensor_layout"
            )
        storage = _Storage(_element_bytes(kind), elements)
        if type(key) is not str or type(elements) is not int or elements < 0:
            raise ValueError("no storage")
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError("a storage of two sizes")
        return _Nothing()


def _fields(pid: Any) -> tuple[Any, Any, Any, Any, Any]:
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        raise ValueError("no storage")
    _, kind, key, place, elements, *view = pid
    return kind, key, place, elements, view[0] if view else None


def _element_bytes(kind: Any) -> int:
    name: str = kind.name if isinstance(kind, type) and issubclass(kind, _Nothing) else ""
    module, _, storage = name.rpartition(".")
    if module not in ("torch", "torch.cuda") or not storage.endswith("Storage"):
        raise ValueError("no class of storages")
    return ELEMENT_BYTES[storage.removesuffix("Storage")]


def check_legacy(path: Path) -> None:
    """Check that the file holds every element of every storage that it names, and nothing else.

    PyTorch allocates a storage of any size before it reads its elements, and leaves one that the file does
    not hold as the memory was. Nothing that the pickles name is imported or called here. Raises
    TeacherRejected: `corrupt_file`, `structure_limit`, `unsafe_pickle` for a whole network, `tensor_layout`.
    """
    try:
        with path.open("rb") as file:
            storages = _storages(file)
            _check_elements(file, storages, path.stat().st_size)
    except TeacherRejected:
        raise
    except (*READ_ERRORS, pickle.UnpicklingError) as error:
        raise TeacherRejected("The file is damaged or incomplete.", code="corrupt_file") from error


def _storages(file: IO[bytes]) -> list[_Storage]:
    """Those of the object, in the order of their elements; the file's position is after the pickles."""
    if _Scan(file).load() != MAGIC_NUMBER or _Scan(file).load() != VERSION:
        raise ValueError("not a file of torch.save")
    _Scan(file).load()  # sizes of numbers on the machine that wrote it
    scan = _Scan(file)
    scan.load()
    keys = _Scan(file).load()
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise ValueError("no names of storages")
    if len(set(keys)) != len(keys) or set(keys) != set(scan.storages):
        raise ValueError("other storages than those of the object")
    return [scan.storages[key] for key in keys]


def _check_elements(file: IO[bytes], storages: list[_Storage], size: int) -> None:
    for storage in storages:
        if int.from_bytes(file.read(COUNT_BYTES), "little") != storage.elements:
            raise ValueError("a storage of another size")
        end = file.tell() + storage.elements * storage.element_bytes
        if end > size:
            raise ValueError("a storage that is longer than the file")
        file.seek(end)
    if file.tell() != size:
        raise ValueError("more than the storages")
