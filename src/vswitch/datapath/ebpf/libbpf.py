"""The system's libbpf (libbpf.so.1) through ctypes: from an object file to maps and programs in the kernel.

An `ObjectFile` is first a specification, read from the file alone: its maps, programs, variables and C types can be
asked for and the first three changed, without any privilege. `load` brings all of it into the kernel at once; from
then on there are descriptors. They belong to the object: duplicate (os.dup) or pin what shall outlive `close`.

Invariant: whatever libbpf and the verifier say while an object is opened and loaded is kept in its `log`, word for
word. libbpf has one print function per process and calls it in the thread that called libbpf, so the log that takes
the words is looked up by thread. Nothing is ever printed.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from vswitch.base.errors import LoadError, MachineError, NotFoundError
from vswitch.datapath.ebpf.bpf_syscall import raise_errno

__all__ = ["Extent", "MapSpec", "ObjectFile", "ProgramSpec"]

_LIBRARY = "libbpf.so.1"
_MAX_LOG = 64 << 20
"""Characters of log kept of one object, the last ones: the verifier may tell every one of a million steps."""

_LEVEL_INFO = 1

# include/uapi/linux/btf.h
_KIND_STRUCT = 4
_KIND_UNION = 5
_KIND_ENUM = 6
_KIND_TYPEDEF = 8
_KIND_VAR = 14
_KIND_DATASEC = 15


class Extent(NamedTuple):
    """Where something lies, in bytes from the start of the value or struct that holds it."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map as the object file asks for it; `type` and `flags` as in enum bpf_map_type and BPF_F_*.
    The variables of a section are a map of one value, named as the section: ".rodata", ".data", ".bss"."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program of the object file; `type` as in enum bpf_prog_type, which libbpf tells from the section."""

    name: str
    section: str
    type: int
    autoload: bool


class ObjectFile:
    """An eBPF object file, opened through libbpf; `source` is its path, or its content.

        with ObjectFile(path) as obj:
            obj.set_rodata("ports", struct.pack("=I", 64))
            obj.load()
            flows = os.dup(obj.map_fd("flows"))

    Raises NotFoundError where the file, or a map, program, variable or type that is named, does not exist,
    LoadError where libbpf or the verifier refuses, MachineError without libbpf.
    """

    def __init__(self, source: Path | bytes, name: str = "") -> None:
        self.name = name or (source.name.split(".")[0] if isinstance(source, Path) else "object")
        self._said: list[str] = []
        self._loaded = False
        self._handle: int | None = None
        content = _read(source) if isinstance(source, Path) else source
        options = _OpenOptions(sz=ctypes.sizeof(_OpenOptions), object_name=self.name.encode())
        with _Listener(self._said):
            handle = _library().bpf_object__open_mem(content, len(content), ctypes.byref(options))
        if not handle:
            raise LoadError(f"libbpf cannot read object {self.name}: {os.strerror(ctypes.get_errno())}", self.log)
        self._handle = handle
        self._types = _Types(_library().bpf_object__btf(handle))

    # --------------------------------------------------------------------------------------- what is in the file

    def maps(self) -> dict[str, MapSpec]:
        """All maps, by name."""
        lib, specs = _library(), {}
        for entry in self._each(lib.bpf_object__next_map):
            name = self._map_name(entry)
            specs[name] = MapSpec(
                name,
                lib.bpf_map__type(entry),
                lib.bpf_map__key_size(entry),
                lib.bpf_map__value_size(entry),
                lib.bpf_map__max_entries(entry),
                lib.bpf_map__map_flags(entry),
            )
        return specs

    def programs(self) -> dict[str, ProgramSpec]:
        """All programs, by name."""
        lib, specs = _library(), {}
        for entry in self._each(lib.bpf_object__next_program):
            name = lib.bpf_program__name(entry).decode()
            section = lib.bpf_program__section_name(entry).decode()
            specs[name] = ProgramSpec(name, section, lib.bpf_program__type(entry), lib.bpf_program__autoload(entry))
        return specs

    def variables(self, section: str) -> dict[str, Extent]:
        """The variables of ".rodata", ".data", ".bss" (or ".data.x") and where each lies in the map of that name."""
        return self._types.variables(section)

    def struct_layout(self, name: str) -> dict[str, Extent]:
        """The members of struct (or union) `name`; those of a member without a name stand among its siblings.
        A bit field has the extent of the bytes that it touches. Only types that some program, map or variable
        uses are in the file."""
        return self._types.members(name)

    def struct_size(self, name: str) -> int:
        """sizeof(struct name), bytes."""
        return self._types.size_of(name)

    def enum_values(self, name: str) -> dict[str, int]:
        """The constants of enum `name` (of 32 bits)."""
        return self._types.constants(name)

    # --------------------------------------------------------------------------------------- before load

    def set_max_entries(self, map_name: str, entries: int) -> None:
        """How many elements the map holds (bytes, for a ring buffer)."""
        self._set(f"setting max_entries of map {map_name} to {entries}", "map__set_max_entries", map_name, entries)

    def set_value_size(self, map_name: str, size: int) -> None:
        """Bytes of one value."""
        self._set(f"setting value_size of map {map_name} to {size}", "map__set_value_size", map_name, size)

    def set_map_flags(self, map_name: str, flags: int) -> None:
        """BPF_F_*, in place of those that the file has."""
        self._set(f"setting flags of map {map_name} to {flags:#x}", "map__set_map_flags", map_name, flags)

    def set_autocreate(self, map_name: str, wanted: bool) -> None:
        """Whether load makes the map; programs that use one that was not made must not be loaded."""
        self._set(f"setting autocreate of map {map_name}", "map__set_autocreate", map_name, wanted)

    def set_pin_path(self, map_name: str, path: Path) -> None:
        """load takes the map that is pinned there (it must be of the same form), or makes one and pins it there."""
        self._set(f"setting the pin of map {map_name} to {path}", "map__set_pin_path", map_name, bytes(path))

    def reuse_map(self, map_name: str, fd: int) -> None:
        """load makes no map but takes this one; the descriptor is duplicated."""
        self._set(f"reusing a map as {map_name}", "map__reuse_fd", map_name, fd)

    def set_autoload(self, program_name: str, wanted: bool) -> None:
        """Whether load loads the program."""
        entry = self._program(program_name)
        with _Listener(self._said):
            result = _library().bpf_program__set_autoload(entry, wanted)
        self._require(f"setting autoload of program {program_name}", result)

    def set_program_type(self, program_name: str, program_type: int) -> None:
        """enum bpf_prog_type, where the section name does not say it."""
        entry = self._program(program_name)
        with _Listener(self._said):
            result = _library().bpf_program__set_type(entry, program_type)
        self._require(f"setting the type of program {program_name} to {program_type}", result)

    def set_rodata(self, name: str, value: bytes) -> None:
        """Give a `const volatile` variable its value, in the machine's byte order; to the verifier it is a constant."""
        self.set_variable(".rodata", name, value)

    def set_variable(self, section: str, name: str, value: bytes) -> None:
        """Give a global variable the value that it starts with; `value` must have the variable's size."""
        assert not self._loaded, "set variables before load; write into the map afterwards"
        extent = self.variables(section).get(name)
        if extent is None:
            raise NotFoundError(f"object {self.name} has no variable {name} in section {section}")
        assert len(value) == extent.size, f"variable {name} has {extent.size} bytes, not {len(value)}"
        size = ctypes.c_size_t()
        start = _library().bpf_map__initial_value(self._map(section), ctypes.byref(size))
        assert start, f"libbpf holds no content for section {section}"
        assert extent.offset + extent.size <= size.value, f"variable {name} ends behind its section"
        ctypes.memmove(start + extent.offset, value, extent.size)

    # --------------------------------------------------------------------------------------- the kernel

    def load(self) -> None:
        """Make the maps and load the programs: all of it, or a LoadError (PrivilegeError without the capabilities)."""
        with _Listener(self._said):
            result = _library().bpf_object__load(self._require_open())
        if result == 0:
            self._loaded = True
        elif result == -errno.EPERM and "-- BEGIN PROG LOAD LOG --" not in self.log:
            raise_errno(f"loading object {self.name}", errno.EPERM)
        else:
            raise LoadError(f"loading object {self.name}: {os.strerror(-result)}", self.log)

    def map_fd(self, name: str) -> int:
        """Descriptor of a loaded map, valid until `close`."""
        fd: int = _library().bpf_map__fd(self._map(name))
        assert fd >= 0, f"map {name} is not loaded"
        return fd

    def program_fd(self, name: str) -> int:
        """Descriptor of a loaded program, valid until `close`."""
        fd: int = _library().bpf_program__fd(self._program(name))
        assert fd >= 0, f"program {name} is not loaded"
        return fd

    @property
    def log(self) -> str:
        """All that libbpf and the verifier have said about this object so far (warnings and notices)."""
        return "".join(self._said)[-_MAX_LOG:]

    def close(self) -> None:
        """Free it, descriptors included. What is pinned or attached stays in the kernel."""
        if self._handle is not None:
            _library().bpf_object__close(self._handle)
            self._handle = None

    def __enter__(self) -> ObjectFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --------------------------------------------------------------------------------------- helpers

    def _require_open(self) -> int:
        assert self._handle is not None, f"object {self.name} is closed"
        return self._handle

    def _each(self, following: Callable[[int, int | None], int | None]) -> Iterator[int]:
        entry = following(self._require_open(), None)
        while entry:
            yield entry
            entry = following(self._require_open(), entry)

    def _map_name(self, entry: int) -> str:
        """The name in the source; that of a section's map is the section's, not the kernel's "object.rodata"."""
        name: str = _library().bpf_map__name(entry).decode()
        if _library().bpf_map__is_internal(entry) and not name.startswith("."):
            return name[name.rindex(".") :]
        return name

    def _map(self, name: str) -> int:
        entry: int | None = _library().bpf_object__find_map_by_name(self._require_open(), name.encode())
        if not entry:
            raise NotFoundError(f"object {self.name} has no map {name}")
        return entry

    def _program(self, name: str) -> int:
        entry: int | None = _library().bpf_object__find_program_by_name(self._require_open(), name.encode())
        if not entry:
            raise NotFoundError(f"object {self.name} has no program {name}")
        return entry

    def _set(self, what: str, function: str, map_name: str, value: int | bytes) -> None:
        entry = self._map(map_name)
        with _Listener(self._said):
            result = getattr(_library(), f"bpf_{function}")(entry, value)
        self._require(what, result)

    def _require(self, what: str, result: int) -> None:
        if result < 0:
            raise LoadError(f"{what}: {os.strerror(-result)}", self.log)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"object file {path} does not exist") from None


# --------------------------------------------------------------------------------------------------- BTF


class _BtfType(ctypes.Structure):
    """struct btf_type: `info` holds the number of members (16 bits), the kind (bits 24 to 28) and a flag (bit 31)."""

    _fields_ = (("name_off", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size_or_type", ctypes.c_uint32))


class _Types:
    """The C types of an object (BTF), walked with libbpf, which has filled in what the compiler left to the linker."""

    def __init__(self, btf: int | None) -> None:
        self._btf = btf

    def variables(self, section: str) -> dict[str, Extent]:
        type_id = self._find(section, _KIND_DATASEC)
        found = {}
        for variable, offset, size in self._tail(type_id, 3):  # struct btf_var_secinfo
            found[self._name(self._type(variable).name_off)] = Extent(offset, size)
        return found

    def members(self, name: str) -> dict[str, Extent]:
        return dict(self._members(self._find(name, _KIND_STRUCT, _KIND_UNION, _KIND_TYPEDEF), 0))

    def size_of(self, name: str) -> int:
        return self._size(self._find(name, _KIND_STRUCT, _KIND_UNION, _KIND_TYPEDEF))

    def constants(self, name: str) -> dict[str, int]:
        entries = self._tail(self._find(name, _KIND_ENUM), 2)  # struct btf_enum
        return {self._name(name_off): value - (value >> 31 << 32) for name_off, value in entries}

    def _members(self, type_id: int, base: int) -> Iterator[tuple[str, Extent]]:
        type_id = _library().btf__resolve_type(self._btf, type_id)  # behind typedef, const, volatile
        has_bit_fields = self._type(type_id).info >> 31
        for name_off, member, offset in self._tail(type_id, 3):  # struct btf_member
            bits, width = (offset & 0xFFFFFF, offset >> 24) if has_bit_fields else (offset, 0)
            name = self._name(name_off)
            start = base + bits // 8
            if not name:
                yield from self._members(member, start)
            elif width:
                yield name, Extent(start, (bits % 8 + width + 7) // 8)
            else:
                yield name, Extent(start, self._size(member))

    def _find(self, name: str, *kinds: int) -> int:
        for kind in kinds:
            type_id: int = _library().btf__find_by_name_kind(self._btf, name.encode(), kind) if self._btf else -1
            if type_id > 0:
                return type_id
        raise NotFoundError(f"the object's types (BTF) have no {name}")

    def _type(self, type_id: int) -> _BtfType:
        return _BtfType.from_address(_library().btf__type_by_id(self._btf, type_id))

    def _tail(self, type_id: int, words: int) -> Iterator[tuple[int, ...]]:
        """What follows a type: as many entries as its info says, each of some 32-bit words."""
        here = _library().btf__type_by_id(self._btf, type_id)
        count = _BtfType.from_address(here).info & 0xFFFF
        numbers = (ctypes.c_uint32 * (count * words)).from_address(here + ctypes.sizeof(_BtfType))
        for first in range(0, count * words, words):
            yield tuple(numbers[first : first + words])

    def _size(self, type_id: int) -> int:
        size: int = _library().btf__resolve_size(self._btf, type_id)
        return size

    def _name(self, offset: int) -> str:
        name: bytes = _library().btf__name_by_offset(self._btf, offset)
        return name.decode()


# --------------------------------------------------------------------------------------------------- the library


class _OpenOptions(ctypes.Structure):
    """struct bpf_object_open_opts of libbpf 1.0; `sz` says how much of it the caller knows: newer ones have more."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
        ("kernel_log_buf", ctypes.c_void_p),
        ("kernel_log_size", ctypes.c_size_t),
        ("kernel_log_level", ctypes.c_uint32),
    )


_POINTER, _TEXT, _INT, _SIZE, _BOOL = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_bool

_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # name -> result, arguments
    "bpf_object__open_mem": (_POINTER, _TEXT, _SIZE, _POINTER),
    "bpf_object__load": (_INT, _POINTER),
    "bpf_object__close": (None, _POINTER),
    "bpf_object__btf": (_POINTER, _POINTER),
    "bpf_object__next_map": (_POINTER, _POINTER, _POINTER),
    "bpf_object__next_program": (_POINTER, _POINTER, _POINTER),
    "bpf_object__find_map_by_name": (_POINTER, _POINTER, _TEXT),
    "bpf_object__find_program_by_name": (_POINTER, _POINTER, _TEXT),
    "bpf_map__name": (_TEXT, _POINTER),
    "bpf_map__is_internal": (_BOOL, _POINTER),
    "bpf_map__type": (_INT, _POINTER),
    "bpf_map__key_size": (ctypes.c_uint32, _POINTER),
    "bpf_map__value_size": (ctypes.c_uint32, _POINTER),
    "bpf_map__max_entries": (ctypes.c_uint32, _POINTER),
    "bpf_map__map_flags": (ctypes.c_uint32, _POINTER),
    "bpf_map__fd": (_INT, _POINTER),
    "bpf_map__initial_value": (_POINTER, _POINTER, _POINTER),
    "bpf_map__set_max_entries": (_INT, _POINTER, ctypes.c_uint32),
    "bpf_map__set_value_size": (_INT, _POINTER, ctypes.c_uint32),
    "bpf_map__set_map_flags": (_INT, _POINTER, ctypes.c_uint32),
    "bpf_map__set_autocreate": (_INT, _POINTER, _BOOL),
    "bpf_map__set_pin_path": (_INT, _POINTER, _TEXT),
    "bpf_map__reuse_fd": (_INT, _POINTER, _INT),
    "bpf_program__name": (_TEXT, _POINTER),
    "bpf_program__section_name": (_TEXT, _POINTER),
    "bpf_program__type": (_INT, _POINTER),
    "bpf_program__autoload": (_BOOL, _POINTER),
    "bpf_program__fd": (_INT, _POINTER),
    "bpf_program__set_autoload": (_INT, _POINTER, _BOOL),
    "bpf_program__set_type": (_INT, _POINTER, _INT),
    "btf__find_by_name_kind": (_INT, _POINTER, _TEXT, ctypes.c_uint32),
    "btf__type_by_id": (_POINTER, _POINTER, ctypes.c_uint32),
    "btf__resolve_size": (ctypes.c_int64, _POINTER, ctypes.c_uint32),
    "btf__resolve_type": (_INT, _POINTER, ctypes.c_uint32),
    "btf__name_by_offset": (_TEXT, _POINTER, ctypes.c_uint32),
}

_PRINT = ctypes.CFUNCTYPE(_INT, _INT, _POINTER, _POINTER)  # level, format, va_list (by reference, or a pointer itself)
_listening = threading.local()
_libc = ctypes.CDLL(None)
_libc.vasprintf.argtypes = (_POINTER, _POINTER, _POINTER)
_libc.free.argtypes = (_POINTER,)


@functools.cache
def _library() -> ctypes.CDLL:
    """libbpf with the types of its functions, and its words going to `_Listener`s."""
    try:
        library = ctypes.CDLL(_LIBRARY, use_errno=True)
    except OSError as problem:
        raise MachineError(f"{_LIBRARY} cannot be loaded ({problem}): install the Debian package libbpf1") from problem
    for name, (result, *arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(_print)
    return library


class _Listener:
    """While it is entered, what libbpf says in this thread is appended to `said`."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def __enter__(self) -> None:
        _library()
        _listening.said = self._said

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        _listening.said = None


def _listen(level: int, form: int, arguments: int) -> int:
    said: list[str] | None = getattr(_listening, "said", None)
    if level > _LEVEL_INFO or said is None:
        return 0
    text = ctypes.c_void_p()
    if _libc.vasprintf(ctypes.byref(text), form, arguments) >= 0 and text.value:
        said.append(ctypes.string_at(text.value).decode(errors="replace"))
        _libc.free(text)
    return 0


_print = _PRINT(_listen)  # libbpf keeps a pointer to it: it lives as long as the module
