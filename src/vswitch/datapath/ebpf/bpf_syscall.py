"""The bpf(2) system call, for what libbpf 1.1 lacks or does at more cost: pins, elements, test runs, tcx links.

Each command is one `_bpf(command, layout, *fields)`: the fields of its member of `union bpf_attr`
(include/uapi/linux/bpf.h) packed by a struct layout. The kernel takes an attr that is longer than its own as long as
the rest is zero, so one size fits every kernel.

Invariant: nothing here keeps state but the answers to what the machine can do, and file descriptors that a function
returns belong to the caller (all are close-on-exec). Everything acts in the network namespace of the calling thread.
Failures are the errors of `vswitch.base.errors`, with the errno's text; the errno itself is their `__cause__`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from vswitch.base.errors import ExistsError, KernelError, MachineError, NotFoundError, PrivilegeError, TableFullError

__all__ = [
    "BPFFS",
    "TCX_EGRESS",
    "TCX_INGRESS",
    "LinkInfo",
    "MapInfo",
    "ProgramInfo",
    "SyscallProgram",
    "TestRun",
    "cpu_slots",
    "ensure_bpffs",
    "has_tcx",
    "link_create_tcx",
    "link_detach",
    "link_from_id",
    "link_info",
    "link_update",
    "map_delete",
    "map_from_id",
    "map_info",
    "map_keys",
    "map_lookup",
    "map_next_key",
    "map_update",
    "obj_get",
    "obj_pin",
    "possible_cpus",
    "prog_from_id",
    "prog_info",
    "prog_test_run",
    "raise_errno",
    "require_kernel",
    "syscall_prog_run",
    "tcx_links",
    "wait_for_programs",
]

BPFFS = Path("/sys/fs/bpf")
KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")

TCX_INGRESS = 46
TCX_EGRESS = 47

# enum bpf_cmd
_MAP_CREATE = 0
_MAP_LOOKUP = 1
_MAP_UPDATE = 2
_MAP_DELETE = 3
_MAP_NEXT_KEY = 4
_PROG_LOAD = 5
_OBJ_PIN = 6
_OBJ_GET = 7
_PROG_RUN = 10
_PROG_FROM_ID = 13
_PROG_QUERY = 16
_MAP_FROM_ID = 14
_INFO_BY_FD = 15
_LINK_CREATE = 28
_LINK_UPDATE = 29
_LINK_FROM_ID = 30
_LINK_DETACH = 34

_MAP_TYPE_ARRAY = 2
_MAP_TYPE_ARRAY_OF_MAPS = 12
_LINK_TYPE_TCX = 11
_PROG_TYPE_SCHED_CLS = 3

_ATTR_BYTES = 128
_RUN_LAYOUT = "=IIIIQQIIIIQQII"  # program, retval, data sizes, data, repeat, duration, ctx sizes, ctx, flags, cpu

_MAX_TCX = 64
"""Programs that the kernel allows at one hook of a device (BPF_MPROG_MAX)."""

_BPFFS_MAGIC = 0xCAFE4A11
_MEMBARRIER_GLOBAL = 1

_SYSCALL_NUMBERS = {  # machine -> bpf, membarrier
    "x86_64": (321, 324),
    "aarch64": (280, 283),
    "riscv64": (280, 283),
    "loongarch64": (280, 283),
    "ppc64le": (361, 365),
}

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says of a map. Sizes in bytes; `type` and `flags` as in enum bpf_map_type and BPF_F_*."""

    id: int
    type: int
    name: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel says of a program. `verified_instructions`: how many the verifier walked through;
    `runs` and `run_ns` stay 0 unless sysctl kernel.bpf_stats_enabled is set."""

    id: int
    type: int
    name: str
    tag: bytes
    verified_instructions: int
    map_ids: tuple[int, ...]
    runs: int
    run_ns: int


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel says of a link. `ifindex` and `attach_type` are those of a tcx link, else 0;
    `ifindex` 0 of a tcx link: its device is gone."""

    id: int
    type: int
    program_id: int
    ifindex: int
    attach_type: int


@dataclass(frozen=True, slots=True)
class TestRun:
    """One BPF_PROG_TEST_RUN: the program's return value, the mean time of a run, packet and context afterwards."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    retval: int
    duration_ns: int
    data_out: bytes
    ctx_out: bytes


# --------------------------------------------------------------------------------------------------- the machine


def require_kernel(minimum: tuple[int, int] = (6, 1)) -> None:
    """Raise KernelError unless the running kernel is new enough and describes its own types (BTF)."""
    release = os.uname().release
    numbers = [int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit()]
    if tuple(numbers) < minimum:
        raise KernelError(f"vswitch needs Linux {minimum[0]}.{minimum[1]} or newer, this is {release}")
    if not KERNEL_BTF.exists():
        raise KernelError(f"{KERNEL_BTF} does not exist: kernel {release} was built without CONFIG_DEBUG_INFO_BTF")


def ensure_bpffs(path: Path = BPFFS) -> Path:
    """Where the bpf file system is that pins live in: `path`; if it is none, one is mounted there. In a mount namespace
    of its own, as `ip netns exec` makes one for a command, what is mounted at the default place would be gone with the
    command: there it is the one of who started the command, by another path."""
    if _is_bpffs(path):
        return path
    outer = _outer_mount_namespace() if path == BPFFS else 0
    if outer:
        return _bpffs_of(outer, path)
    if _libc.mount(b"bpf", bytes(path), b"bpf", ctypes.c_ulong(0), b"mode=0700") != 0:
        number = ctypes.get_errno()
        if number == errno.ENOENT:
            raise MachineError(f"{path} does not exist: no bpf file system can be mounted there")
        raise_errno(f"mounting a bpf file system at {path}", number)
    if not _is_bpffs(path):
        raise MachineError(f"{path} is no bpf file system, even after mounting one there")
    return path


def _outer_mount_namespace() -> int:
    """The nearest of the processes that this one descends from which is in another mount namespace; 0 if all are in
    this one, or do not say."""
    pid = os.getppid()
    with contextlib.suppress(OSError, ValueError):
        while pid > 0:
            if not Path(f"/proc/{pid}/ns/mnt").samefile("/proc/self/ns/mnt"):
                return pid
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


@functools.cache
def _bpffs_of(pid: int, path: Path) -> Path:
    """`path` in the mount namespace of this process, by a descriptor that stays when it ends."""
    there = Path(f"/proc/{pid}/root") / path.relative_to("/")
    if not _is_bpffs(there):
        command = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "mount", "-t", "bpf", "-o", "mode=0700", "bpf", str(path)]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, capture_output=True, timeout=10, check=False)
    if not _is_bpffs(there):
        raise MachineError(
            f"{path} is no bpf file system in this mount namespace, nor in the one around it: there, "
            f"`mount -t bpf bpf {path}`"
        )
    return Path(f"/proc/self/fd/{os.open(there, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)}")


def _is_bpffs(path: Path) -> bool:
    status = ctypes.create_string_buffer(256)  # struct statfs begins with f_type, a long
    if _libc.statfs(bytes(path), status) != 0:
        return False
    return ctypes.c_ulong.from_buffer(status).value & 0xFFFFFFFF == _BPFFS_MAGIC


def possible_cpus() -> int:
    """How many copies a per-CPU map has of each value: the CPUs that may ever come online."""
    return len(_cpu_numbers())


def cpu_slots() -> int:
    """How long an array indexed by bpf_get_smp_processor_id() must be: 1 + the highest CPU number possible."""
    return 1 + max(_cpu_numbers())


@functools.cache
def _cpu_numbers() -> frozenset[int]:
    numbers: set[int] = set()
    for part in Path("/sys/devices/system/cpu/possible").read_text().strip().split(","):  # "0-3", or "0,2-5"
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


@functools.cache
def has_tcx() -> bool:
    """Whether the kernel has tcx links (6.6): asked with a program at a device that does not exist.

    A kernel without them refuses the attach type (EINVAL), one with them misses the device (ENODEV).
    """
    instructions = struct.pack("<QQ", 0xB7, 0x95)  # r0 = 0; exit
    code = _buffer(instructions)
    fd = _checked(
        "loading a program of two instructions",
        _bpf(_PROG_LOAD, "=IIQQIIQ", _PROG_TYPE_SCHED_CLS, 2, _address(code), _address(_LICENSE), 0, 0, 0),
    )
    try:
        result = _bpf(_LINK_CREATE, "=IIII", fd, 0x7FFFFFFF, TCX_INGRESS, 0)
    finally:
        os.close(fd)
    if result == -errno.EPERM:
        raise_errno("asking for tcx links", errno.EPERM)
    return result == -errno.ENODEV


def wait_for_programs() -> None:
    """Return when every tc program that was running when this was called has ended: a grace period.

    What a program may still be reading (a flow's slot, a range of actions) is safe to use anew afterwards, provided
    that it was taken out of reach before. Takes some milliseconds (8 to 30) and lets other threads run.

    How: tc and XDP programs run in an RCU read-side section, and membarrier(MEMBARRIER_CMD_GLOBAL) is
    synchronize_rcu() since it came (4.3). It is refused where CPUs run without a tick (nohz_full) and does nothing
    on a machine of one CPU, where a real-time kernel can preempt a program; there a slot of a map of maps is written
    instead, after which the kernel waits just so (`maybe_wait_bpf_programs`), documented for this use, at the price
    of a map. Programs of type syscall are sleepable, in other RCU sections: neither way waits for them, but they
    run inside the system call of whoever runs them.
    """
    if (os.cpu_count() or 1) == 1 or _syscall(_number(1), ctypes.c_long(_MEMBARRIER_GLOBAL), 0, 0) != 0:
        inner, outer = _grace_maps()
        map_update(outer, bytes(4), struct.pack("=i", inner))


@functools.cache
def _grace_maps() -> tuple[int, int]:
    """An array map, and an array of maps that it can be put into; kept for the life of the process."""
    inner = _checked("creating a map", _bpf(_MAP_CREATE, "=IIII", _MAP_TYPE_ARRAY, 4, 4, 1))
    outer = _checked("creating a map of maps", _bpf(_MAP_CREATE, "=IIIIII", _MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 1, 0, inner))
    return inner, outer


# --------------------------------------------------------------------------------------------------- pins


def obj_pin(fd: int, path: Path) -> None:
    """Give a map, program or link a name in the bpf file system, which keeps it alive. ExistsError if it is taken."""
    name = ctypes.create_string_buffer(bytes(path))
    _checked(f"pinning at {path}", _bpf(_OBJ_PIN, "=QII", _address(name), fd, 0))


def obj_get(path: Path) -> int:
    """A new descriptor of what is pinned at `path`. NotFoundError if nothing is."""
    name = ctypes.create_string_buffer(bytes(path))
    return _checked(f"opening {path}", _bpf(_OBJ_GET, "=QII", _address(name), 0, 0))


# --------------------------------------------------------------------------------------------------- maps


def map_lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value at `key`, None if there is none. Of a per-CPU map, `value_size` is the size of all copies:
    that of one rounded up to 8, times `possible_cpus()`."""
    key_buffer = _buffer(key)
    value = ctypes.create_string_buffer(value_size)
    result = _bpf(_MAP_LOOKUP, "=IIQQQ", fd, 0, _address(key_buffer), _address(value), 0)
    if result == -errno.ENOENT:
        return None
    _checked("looking up a map element", result)
    return value.raw


def map_update(fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Write an element; flags: 0, BPF_NOEXIST 1 (ExistsError), BPF_EXIST 2 (NotFoundError).
    TableFullError: a full hash map, or an index past the end of an array."""
    key_buffer = _buffer(key)
    value_buffer = _buffer(value)
    result = _bpf(_MAP_UPDATE, "=IIQQQ", fd, 0, _address(key_buffer), _address(value_buffer), flags)
    if result == -errno.E2BIG:
        info = map_info(fd)
        raise TableFullError(f"map {info.name} has no room for another element: its bound is {info.max_entries}")
    _checked("writing a map element", result)


def map_delete(fd: int, key: bytes) -> bool:
    """Remove an element; False if there was none."""
    key_buffer = _buffer(key)
    result = _bpf(_MAP_DELETE, "=IIQQQ", fd, 0, _address(key_buffer), 0, 0)
    if result == -errno.ENOENT:
        return False
    _checked("deleting a map element", result)
    return True


def map_next_key(fd: int, key: bytes | None, key_size: int) -> bytes | None:
    """The key behind `key` (None: the first) in the map's own order; None at the end."""
    key_buffer, following = _buffer(key or b""), _buffer(b"", key_size)
    result = _bpf(_MAP_NEXT_KEY, "=IIQQQ", fd, 0, _address(key_buffer), _address(following), 0)
    if result == -errno.ENOENT:
        return None
    _checked("walking a map", result)
    return following.raw


def map_keys(fd: int, key_size: int) -> Iterator[bytes]:
    """All keys. Deleting the key just given is safe; where another writer deletes it, the walk begins anew."""
    key = map_next_key(fd, None, key_size)
    while key is not None:
        following = map_next_key(fd, key, key_size)
        yield key
        key = following


def map_info(fd: int) -> MapInfo:
    """What the kernel says of a map."""
    type_, id_, key_size, value_size, entries, flags, name = struct.unpack_from("=IIIIII16s", _info(fd, 80))
    return MapInfo(id_, type_, _text(name), key_size, value_size, entries, flags)


def map_from_id(map_id: int) -> int:
    """A new descriptor of the map with this id."""
    return _checked(f"opening map {map_id}", _bpf(_MAP_FROM_ID, "=III", map_id, 0, 0))


# --------------------------------------------------------------------------------------------------- programs


def prog_info(fd: int) -> ProgramInfo:
    """What the kernel says of a program."""
    # struct bpf_prog_info: nr_map_ids at 52, map_ids at 56, name at 64, run_time_ns at 192, verified_insns at 216
    for limit in (64, 1024):
        map_ids = (ctypes.c_uint32 * limit)()
        request = bytearray(224)
        struct.pack_into("=IQ", request, 52, limit, _address(map_ids))
        answer = _info(fd, 224, request)
        (count,) = struct.unpack_from("=I", answer, 52)
        if count <= limit:
            break
    type_, id_, tag = struct.unpack_from("=II8s", answer)
    (name,) = struct.unpack_from("16s", answer, 64)
    run_ns, runs = struct.unpack_from("=QQ", answer, 192)
    (verified,) = struct.unpack_from("=I", answer, 216)
    return ProgramInfo(id_, type_, _text(name), tag, verified, tuple(map_ids[: min(count, limit)]), runs, run_ns)


def prog_from_id(program_id: int) -> int:
    """A new descriptor of the program with this id."""
    return _checked(f"opening program {program_id}", _bpf(_PROG_FROM_ID, "=III", program_id, 0, 0))


def prog_test_run(
    fd: int,
    data: bytes = b"",
    ctx: bytes = b"",
    data_out_size: int | None = None,
    ctx_out_size: int | None = None,
    repeat: int = 1,
    flags: int = 0,
) -> TestRun:
    """Run a program on a packet without any device. `ctx` is a struct __sk_buff (192 bytes, or a prefix) or empty;
    tc programs need 14 bytes of `data` at least. Room for the results: by default 256 bytes more than went in, and
    a context out when one went in. A packet that grew past the room raises MachineError (ENOSPC)."""
    data_room = len(data) + 256 if data_out_size is None else data_out_size
    ctx_room = len(ctx) if ctx_out_size is None else ctx_out_size
    data_in, data_out, ctx_in, ctx_out = _buffer(data), _buffer(b"", data_room), _buffer(ctx), _buffer(b"", ctx_room)
    attr = ctypes.create_string_buffer(_ATTR_BYTES)
    struct.pack_into(
        _RUN_LAYOUT, attr, 0,
        fd, 0, len(data), data_room, _address(data_in), _address(data_out), repeat, 0,
        len(ctx), ctx_room, _address(ctx_in), _address(ctx_out), flags, 0,
    )  # fmt: skip
    _checked("running a program on test data", _bpf_raw(_PROG_RUN, attr))
    retval, _, data_size = struct.unpack_from("=III", attr, 4)
    duration, _, ctx_size = struct.unpack_from("=III", attr, 36)
    return TestRun(retval, duration, data_out.raw[: min(data_size, data_room)], ctx_out.raw[: min(ctx_size, ctx_room)])


class SyscallProgram:
    """A program of BPF_PROG_TYPE_SYSCALL and the memory that it shares with Python: kernel code to call often.

    Everything that the system call needs is laid out once, so that a call costs little above the system call
    itself. `ctx` is writable and holds `ctx_size` bytes: the program's context, and after `run` what it left there.
    Keep the descriptor open meanwhile. One thread at a time.
    """

    __slots__ = ("_attr", "_call", "_memory", "_result", "ctx", "fd")

    def __init__(self, fd: int, ctx_size: int = 0) -> None:
        self.fd = fd
        self._memory = bytearray(ctx_size)
        self._attr = _run_attr(fd, self._memory)
        self.ctx = memoryview(self._memory)
        self._result = memoryview(self._attr).cast("B").cast("I")
        self._call = functools.partial(
            _syscall, ctypes.c_long(_number(0)), ctypes.c_long(_PROG_RUN),
            ctypes.c_void_p(_address(self._attr)), ctypes.c_long(_ATTR_BYTES),
        )  # fmt: skip

    def run(self) -> int:
        """Run it once; its return value (32 bits, unsigned)."""
        # hot: once per batch of flow operations; about 1.2 us, of which the system call itself 0.7
        if self._call() < 0:
            raise_errno("running a syscall program", ctypes.get_errno())
        return self._result[1]


def syscall_prog_run(fd: int, ctx: bytearray) -> int:
    """Run a program of BPF_PROG_TYPE_SYSCALL once on `ctx`, which it may change; its return value (32 bits)."""
    attr = _run_attr(fd, ctx)
    with memoryview(ctx):  # nobody may resize it meanwhile
        _checked("running a syscall program", _bpf_raw(_PROG_RUN, attr))
    result: int = struct.unpack_from("=I", attr, 4)[0]
    return result


def _run_attr(fd: int, ctx: bytearray) -> ctypes.Array[ctypes.c_char]:
    """The attr of a syscall program's run: everything but the program and its context must be zero."""
    attr = ctypes.create_string_buffer(_ATTR_BYTES)
    where = ctypes.addressof(ctypes.c_char.from_buffer(ctx)) if ctx else 0
    struct.pack_into(_RUN_LAYOUT, attr, 0, fd, 0, 0, 0, 0, 0, 0, 0, len(ctx), 0, where, 0, 0, 0)
    return attr


# --------------------------------------------------------------------------------------------------- links


def link_create_tcx(program_fd: int, ifindex: int, attach_type: int, flags: int = 0, relative: int = 0) -> int:
    """Hang a program on a device; the descriptor of the link, which holds it there. `flags`: BPF_F_BEFORE 8,
    BPF_F_AFTER 16, BPF_F_ID 32 and BPF_F_LINK 8192 say where, against the program or link `relative`."""
    return _checked(
        f"attaching a program to device {ifindex}",
        _bpf(_LINK_CREATE, "=IIIIIIQ", program_fd, ifindex, attach_type, flags, relative, 0, 0),
    )


def link_update(fd: int, program_fd: int) -> None:
    """Put another program into a link, without a packet in between that meets none."""
    _checked("replacing the program of a link", _bpf(_LINK_UPDATE, "=IIII", fd, program_fd, 0, 0))


def link_detach(fd: int) -> None:
    """Take the link's program off its device, whoever else holds the link; the link stays, defunct."""
    _checked("detaching a link", _bpf(_LINK_DETACH, "=I", fd))


def tcx_links(ifindex: int, attach_type: int) -> tuple[int, ...]:
    """The ids of the links that hang on a device, in the order in which they run; 0 for a program without a link.
    None at all if there is no such device."""
    programs, links = _buffer(b"", 4 * _MAX_TCX), _buffer(b"", 4 * _MAX_TCX)
    attr = ctypes.create_string_buffer(_ATTR_BYTES)
    addresses = (_address(programs), _MAX_TCX, 0, 0, _address(links), 0, 0)
    struct.pack_into("=IIIIQIIQQQQ", attr, 0, ifindex, attach_type, 0, 0, *addresses)
    result = _bpf_raw(_PROG_QUERY, attr)
    if result in (-errno.ENOENT, -errno.ENODEV):
        return ()
    _checked(f"listing the programs of device {ifindex}", result)
    (count,) = struct.unpack_from("=I", attr, 24)
    return struct.unpack_from(f"={count}I", links)


def link_from_id(link_id: int) -> int:
    """A new descriptor of the link with this id."""
    return _checked(f"opening link {link_id}", _bpf(_LINK_FROM_ID, "=III", link_id, 0, 0))


def link_info(fd: int) -> LinkInfo:
    """What the kernel says of a link."""
    type_, id_, program_id, _, ifindex, attach_type = struct.unpack_from("=IIIIII", _info(fd, 64))
    is_tcx = type_ == _LINK_TYPE_TCX
    return LinkInfo(id_, type_, program_id, ifindex if is_tcx else 0, attach_type if is_tcx else 0)


# --------------------------------------------------------------------------------------------------- the call


def raise_errno(what: str, number: int, detail: str = "") -> NoReturn:
    """Raise the vswitch error for a failed system call; `what` says what was being done, as in "pinning at /x",
    `detail` what the kernel said besides the errno."""
    cause = OSError(number, os.strerror(number))
    message = f"{what}: {os.strerror(number)}" + (f" ({detail})" if detail else "")
    if number in (errno.EPERM, errno.EACCES):
        needs = "it needs root, or the capabilities CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_PERFMON"
        raise PrivilegeError(f"{message}; {needs}") from cause
    if number in (errno.ENOENT, errno.ENODEV, errno.ENOLINK):
        raise NotFoundError(message) from cause
    if number == errno.EEXIST:
        raise ExistsError(message) from cause
    raise MachineError(message) from cause


_LICENSE = ctypes.create_string_buffer(b"GPL")


def _bpf(command: int, layout: str, *fields: int) -> int:
    """One command; its result, or minus the errno."""
    attr = ctypes.create_string_buffer(_ATTR_BYTES)
    struct.pack_into(layout, attr, 0, *fields)
    return _bpf_raw(command, attr)


def _bpf_raw(command: int, attr: ctypes.Array[ctypes.c_char]) -> int:
    result: int = _syscall(
        ctypes.c_long(_number(0)), ctypes.c_long(command), ctypes.c_void_p(_address(attr)), ctypes.c_long(_ATTR_BYTES)
    )
    return result if result >= 0 else -ctypes.get_errno()


def _checked(what: str, result: int) -> int:
    if result < 0:
        raise_errno(what, -result)
    return result


def _info(fd: int, size: int, request: bytearray | None = None) -> bytes:
    """BPF_OBJ_GET_INFO_BY_FD: `size` bytes of the object's info structure, zeros where the kernel knows less."""
    info = ctypes.create_string_buffer(bytes(request) if request else b"", size)
    _checked(f"asking about descriptor {fd}", _bpf(_INFO_BY_FD, "=IIQ", fd, size, _address(info)))
    return info.raw


@functools.cache
def _number(which: int) -> int:
    """System call number of bpf (0) or membarrier (1)."""
    machine = os.uname().machine
    if machine not in _SYSCALL_NUMBERS or ctypes.sizeof(ctypes.c_void_p) != 8:
        known = ", ".join(_SYSCALL_NUMBERS)
        raise MachineError(f"vswitch does not know the system calls of this machine ({machine}), only those of {known}")
    return _SYSCALL_NUMBERS[machine][which]


def _buffer(content: bytes, size: int | None = None) -> ctypes.Array[ctypes.c_char]:
    """Memory of `size` bytes that begins with `content`; by default just as long."""
    return ctypes.create_string_buffer(content, len(content) if size is None else size)


def _address(buffer: ctypes.Array[ctypes.c_char] | ctypes.Array[ctypes.c_uint32]) -> int:
    """Where it is; 0 (no pointer) for one of no bytes, as the kernel wants it."""
    return ctypes.addressof(buffer) if len(buffer) else 0


def _text(name: bytes) -> str:
    return name.split(b"\0", 1)[0].decode(errors="replace")
