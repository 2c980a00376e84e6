"""The kernel's half of one datapath: maps and programs, pinned so that they outlive the process, and mapped into
memory.

    /sys/fs/bpf/vswitch/NAME/maps/...       one pin for each map
                            /programs/...   vs_port, vs_inject, vs_control, vs_extract
                            /links/...      where programs hang (attach.py)

Whoever changes the datapath holds a lock on its folder; reading needs none. Sizes are fixed when it is made and read
back from the maps, so a process that finds the datapath again needs no file of its own.

Invariant: a folder is a whole datapath or none: making one that fails removes what it had made.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from dataclasses import dataclass, fields
from pathlib import Path

from vswitch.base.errors import BusyError, ConfigError, ExistsError, MachineError, NotFoundError, PrivilegeError
from vswitch.datapath.ebpf import bpf_syscall
from vswitch.datapath.ebpf.bpf_syscall import SyscallProgram
from vswitch.datapath.ebpf.layout import CONTROL, DATAPATH, LAYOUT, MAX_MASKS, ControlCode
from vswitch.datapath.ebpf.libbpf import ObjectFile
from vswitch.datapath.ebpf.memory import SharedMap
from vswitch.packet.checksum import crc32c_zero_tables

__all__ = ["Options", "State", "datapath_names"]

OBJECT = Path(__file__).parent / "vswitch.bpf.o"
"""The compiled program; the wheel carries it, `make object` builds it."""

MAX_NAME = 15
"""Characters of a datapath's name: its local port is a device of that name."""

MAX_STRIPES = 8
"""Copies of each counter, so that CPUs do not write to the same line; with more CPUs they share, atomically."""

_MAPS = (
    "flows", "flow_stats", "index_buckets", "cache", "ops", "ports", "port_infos", "port_counters", "port_rings",
    "counters", "meters", "injections", "ports_by_ifindex", "upcalls", "programs",
)  # fmt: skip
_MEMORY = (
    "flows", "flow_stats", "ops", "ports", "port_infos", "port_counters", "port_rings", "counters", "meters",
    "injections",
)  # fmt: skip
_STATE = "state"
_TAIL_CALLED = ("vs_lookup", "vs_actions", "vs_upcall")
_PROGRAMS = ("vs_port", "vs_inject", "vs_control", "vs_extract")


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes of a datapath, fixed for its life. Memory is taken when it is made: for each flow 256 bytes, 32 bytes a
    stripe (CPUs, 8 at most) and about 24 of index; for each CPU 64 bytes for each 8 cache entries.

    max_flows: megaflows. max_masks: different masks (per priority), at most 1023. max_ports: ports at one time.
    max_ops: steps of action lists (32 bytes each); a list that is no single output takes about 2 + its actions + the
    length of its text / 32. cache_entries: microflows remembered, per CPU. max_meters: meters. ring_bytes: upcalls
    waiting, a power of two. port_quota_bytes: of these, at most so much of one port; a small packet takes 448 bytes.
    """

    max_flows: int = 65536
    max_masks: int = 256
    max_ports: int = 1024
    max_ops: int = 65536
    cache_entries: int = 32768
    max_meters: int = 256
    ring_bytes: int = 8 << 20
    port_quota_bytes: int = 512 << 10

    def __post_init__(self) -> None:
        bounds = {
            "max_flows": (1, 1 << 24),
            "max_masks": (1, MAX_MASKS - 1),
            "max_ports": (1, 65535),
            "max_ops": (64, 1 << 24),
            "cache_entries": (8, 1 << 24),
            "max_meters": (1, 1 << 20),
            "ring_bytes": (1 << 17, 1 << 30),
            "port_quota_bytes": (1 << 17, 1 << 30),
        }
        for member in fields(self):
            value, (low, high) = getattr(self, member.name), bounds[member.name]
            if not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{member.name} {value!r} is outside {low}..{high}")
        if self.ring_bytes & (self.ring_bytes - 1):
            raise ConfigError(f"ring_bytes {self.ring_bytes} is not a power of two")


def _power_of_two(at_least: int) -> int:
    return 1 << max(at_least - 1, 0).bit_length()


def _ipv6_sum_flag() -> int:
    """BPF_F_IPV6 where bpf_l4_csum_replace knows it (Linux 6.16): without it the sum that a network card has made over
    a received IPv6 packet is spoilt when an address is rewritten, and the receiver sums again in software."""
    major, minor = (int(part) for part in os.uname().release.split(".")[:2])
    return 1 << 7 if (major, minor) >= (6, 16) else 0


def _root() -> Path:
    return bpf_syscall.ensure_bpffs() / "vswitch"


def datapath_names() -> list[str]:
    """Names of the datapaths on this machine."""
    root = _root()
    return sorted(entry.name for entry in root.iterdir() if (entry / "maps").is_dir()) if root.is_dir() else []


def check_name(name: str) -> str:
    """`name`, if a datapath can be called so."""
    if not 1 <= len(name) <= MAX_NAME or not name.isascii() or set(name) & set("/: .\t\n") or not name.isprintable():
        raise ConfigError(
            f"datapath name {name!r} is not 1..{MAX_NAME} letters, digits or signs without / : . and blanks"
        )
    return name


class State:
    """One datapath's maps and programs in this process. `lock()` before changing anything."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self._lock_fd = -1
        self.maps: dict[str, int] = {}
        self.programs: dict[str, int] = {}
        self.memory: dict[str, SharedMap] = {}
        self._control: SyscallProgram | None = None

    # ---- making, finding, removing

    @classmethod
    def create(cls, name: str, options: Options, inject_ifindex: int) -> State:
        """Load and pin a new datapath, and lock it. ExistsError if there is one of that name."""
        state = cls(name, _root() / check_name(name))
        bpf_syscall.require_kernel()
        try:
            state.folder.mkdir(parents=True)
        except FileExistsError:
            raise ExistsError(f"datapath {name} exists already") from None
        except PermissionError:
            raise PrivilegeError(f"making datapath {name} needs root: {state.folder} cannot be written") from None
        try:
            state.lock()
            for kind in ("maps", "programs", "links"):
                (state.folder / kind).mkdir()
            state._load(options, inject_ifindex)
            state._map_memory(writable=True)
        except BaseException:
            state.remove()
            raise
        return state

    @classmethod
    def open(cls, name: str, *, control: bool) -> State:
        """Find a datapath again. NotFoundError if there is none, BusyError if `control` and another process has it."""
        state = cls(name, _root() / check_name(name))
        if not (state.folder / "maps").is_dir():
            raise NotFoundError(f"datapath {name} does not exist")
        try:
            if control:
                state.lock()
            state.maps = {each: bpf_syscall.obj_get(state.folder / "maps" / each) for each in (*_MAPS, _STATE)}
            state.programs = {each: bpf_syscall.obj_get(state.folder / "programs" / each) for each in _PROGRAMS}
            state._map_memory(writable=control)
            layout = state.words[DATAPATH.LAYOUT // 4]
            if layout != LAYOUT:
                raise MachineError(
                    f"datapath {name} was made by another version of vswitch (layout {layout}, this is {LAYOUT}): "
                    f"delete it and make it anew"
                )
            if control:
                state.words[DATAPATH.CONTROLLER // 4] = os.getpid()
        except BaseException:
            state.close()
            raise
        return state

    def remove(self) -> None:
        """Take the pins away and close. What still hangs at devices must be detached before."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()  # when it was the last

    def close(self) -> None:
        """Forget the datapath, which goes on without us."""
        if self._lock_fd >= 0 and self.memory and self.words[DATAPATH.CONTROLLER // 4] == os.getpid():
            self.words[DATAPATH.CONTROLLER // 4] = 0
        for memory in self.memory.values():
            memory.close()
        self.memory = {}
        for fd in (*self.maps.values(), *self.programs.values()):
            os.close(fd)
        self.maps, self.programs, self._control = {}, {}, None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def lock(self) -> None:
        """Be the one process that changes the datapath. BusyError names the one that does."""
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise BusyError(f"datapath {self.name} is controlled by another process{self._holder()}") from None
        self._lock_fd = fd

    def _holder(self) -> str:
        with contextlib.suppress(Exception), contextlib.closing(State.open(self.name, control=False)) as reader:
            pid = reader.words[DATAPATH.CONTROLLER // 4]
            return f" (pid {pid})" if pid else ""
        return ""

    # ---- loading

    def _load(self, options: Options, inject_ifindex: int) -> None:
        cpus = bpf_syscall.cpu_slots()
        stripes = min(_power_of_two(cpus), MAX_STRIPES)
        buckets = _power_of_two(max(options.max_flows // 3, 2))
        cache_buckets = _power_of_two(max(options.cache_entries // 8, 1))
        entries = {
            "flows": options.max_flows + 1,  # flow 0 is none
            "flow_stats": (options.max_flows + 1) * stripes,
            "index_buckets": buckets,
            "cache": cache_buckets * cpus,
            "ops": options.max_ops,
            "ports": 65536,
            "port_infos": options.max_ports,
            "port_counters": options.max_ports * stripes,
            "port_rings": options.max_ports,
            "counters": stripes,
            "meters": options.max_meters,
            "injections": 1024,
            "ports_by_ifindex": options.max_ports,
            "upcalls": options.ring_bytes,
        }
        constants = {
            "n_buckets": buckets,
            "n_cache_buckets": cache_buckets,
            "n_flows": options.max_flows + 1,
            "n_stripes": stripes,
            "n_port_slots": options.max_ports,
            "shared_stripes": int(cpus > stripes),
            "inject_ifindex": inject_ifindex,
        }
        with ObjectFile(OBJECT) as loaded:
            for name, count in entries.items():
                loaded.set_max_entries(name, count)
            for name, value in constants.items():
                loaded.set_rodata(name, value.to_bytes(4, "little"))
            loaded.set_rodata("ipv6_sum_flag", _ipv6_sum_flag().to_bytes(8, "little"))
            loaded.load()
            for number, name in enumerate(_TAIL_CALLED):
                fd = loaded.program_fd(name)
                bpf_syscall.map_update(
                    loaded.map_fd("programs"), number.to_bytes(4, "little"), fd.to_bytes(4, "little")
                )
            for name in _MAPS:
                self._pin("maps", name, loaded.map_fd(name))
            self._pin("maps", _STATE, loaded.map_fd(".bss"))
            for name in _PROGRAMS:
                self._pin("programs", name, loaded.program_fd(name))
        state = SharedMap(self.maps[_STATE])
        words = state.view.cast("I")
        words[DATAPATH.LAYOUT // 4] = LAYOUT
        words[DATAPATH.CONTROLLER // 4] = os.getpid()
        words[DATAPATH.INJECT_IFINDEX // 4] = inject_ifindex
        words[DATAPATH.OPTION_MASKS // 4] = options.max_masks
        words[DATAPATH.OPTION_QUOTA // 4] = options.port_quota_bytes
        words.release()
        tables = crc32c_zero_tables()
        state.view[DATAPATH.CRC32C_ZEROS : DATAPATH.CRC32C_ZEROS + len(tables)] = tables
        state.close()

    def _pin(self, kind: str, name: str, fd: int) -> None:
        bpf_syscall.obj_pin(fd, self.folder / kind / name)
        kept = os.dup(fd)
        (self.maps if kind == "maps" else self.programs)[name] = kept

    def _map_memory(self, writable: bool) -> None:
        for name in (*_MEMORY, _STATE):
            self.memory[name] = SharedMap(self.maps[name], writable=writable)
        self.words = self.memory[_STATE].view.cast("I")

    # ---- use

    @property
    def bytes(self) -> memoryview:
        """The variable `dp`, as bytes."""
        return self.memory[_STATE].view

    @property
    def options(self) -> Options:
        """What it was made with; sizes that were rounded up, as they are."""
        return Options(
            max_flows=self.flow_slots - 1,
            max_masks=self.words[DATAPATH.OPTION_MASKS // 4],
            max_ports=self.memory["port_infos"].entries,
            max_ops=self.memory["ops"].entries,
            cache_entries=bpf_syscall.map_info(self.maps["cache"]).max_entries * 8 // bpf_syscall.cpu_slots(),
            max_meters=self.memory["meters"].entries,
            ring_bytes=bpf_syscall.map_info(self.maps["upcalls"]).max_entries,
            port_quota_bytes=self.words[DATAPATH.OPTION_QUOTA // 4],
        )

    @property
    def stripes(self) -> int:
        """Copies of each counter."""
        return self.memory["counters"].entries

    @property
    def flow_slots(self) -> int:
        """Flow slots, the unused slot 0 included."""
        return self.memory["flows"].entries

    def control(
        self, code: ControlCode, *, count: int = 0, mask: int = 0, first: int = 0, now_ns: int = 0
    ) -> tuple[int, int]:
        """Run the control program on what is staged. Returns (result, first)."""
        if self._control is None:
            self._control = SyscallProgram(self.programs["vs_control"], CONTROL.size)
        CONTROL.pack_into(self._control.ctx, 0, code, count, mask, first, 0, 0, now_ns)
        self._control.run()
        _, _, _, next_, result, _, _ = CONTROL.unpack_from(self._control.ctx, 0)
        return result, next_
