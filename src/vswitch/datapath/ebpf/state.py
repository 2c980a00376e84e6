"""The kernel's half of one datapath: maps and programs, pinned to outlive the process, and mapped into memory.

    /sys/fs/bpf/vswitch/NAME/maps/...       one pin for each map
                            /programs/...   vs_port, vs_inject, vs_control, vs_extract
                            /links/...      where programs hang (attach.py)

Whoever changes the datapath holds a lock on its folder, which is root's alone; reading needs none. Sizes are fixed when
it is made and read back from the maps, so a process that finds the datapath again needs no file of its own.

Invariant: a datapath is there exactly while `maps/state` is. It is pinned last and goes first, so whoever is killed
while making or removing one leaves a folder that is no datapath, and that the next who makes or deletes one of that
name clears away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from vswitch.base.errors import BusyError, ConfigError, ExistsError, MachineError, NotFoundError, PrivilegeError
from vswitch.base.limits import MAX_PORT
from vswitch.datapath.ebpf import attach, bpf_syscall
from vswitch.datapath.ebpf.bpf_syscall import SyscallProgram
from vswitch.datapath.ebpf.layout import CACHE_WAYS, CONTROL, DATAPATH, LAYOUT, MAX_MASKS, ControlCode
from vswitch.datapath.ebpf.libbpf import ObjectFile
from vswitch.datapath.ebpf.memory import SharedMap
from vswitch.datapath.ebpf.network import network_cookie, network_exists
from vswitch.packet.checksum import crc32c_zero_tables

__all__ = [
    "LeftoverError",
    "Options",
    "State",
    "check_name",
    "datapath_names",
    "hidden_name",
    "is_hidden_name",
    "owner_mark",
    "rounded_size",
]

OBJECT = Path(__file__).parent / "vswitch.bpf.o"
"""The compiled program; the wheel carries it, `make object` builds it."""

MAX_NAME = 15
"""Characters of a datapath's name: its local port is a device of that name."""

MAX_STRIPES = 8
"""Copies of each counter, so that CPUs do not write to the same line; with more CPUs they share, atomically."""

_TRIES = 100
"""Times that a folder is made which another process removes at once."""

_MAPS = (
    "flows", "flow_stats", "index_buckets", "cache", "ops", "ports", "port_infos", "port_counters", "port_rings",
    "counters", "meters", "policers", "injections", "ports_by_ifindex", "ifindex_hints", "upcalls", "programs",
)  # fmt: skip
_MEMORY = (
    "flows", "flow_stats", "ops", "ports", "port_infos", "port_counters", "port_rings", "counters", "meters",
    "policers", "injections", "ifindex_hints",
)  # fmt: skip
_STATE = "state"
_TAIL_CALLED = ("vs_lookup", "vs_actions", "vs_upcall")
_HIDDEN_PREFIXES = ("vsi", "vsj", "vsp", "vst")
"""Of the pair of the injection device, the switch's end of an internal port, a tap device not yet finished."""
_RESERVED_NAMES = ("all", "default")
"""Under /proc/sys/net the names of what goes for every device."""
_PROGRAMS = ("vs_port", "vs_inject", "vs_control", "vs_extract")


class LeftoverError(ConfigError, MachineError):
    """A datapath cannot be used any more, only deleted: another version of vswitch made it, or the network namespace of
    its devices is gone."""


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes of a datapath, fixed for its life. Memory is taken when it is made: for each flow 256 bytes, 32 bytes a
    stripe (CPUs, 8 at most) and about 24 of index; for each CPU 64 bytes for each 5 cache entries.

    `max_flows`: megaflows. `max_masks`: masks (one at two priorities counts twice). `max_ports`: ports at one time.
    `max_ops`: steps of action lists (32 bytes each); a list that is no single output takes about 2 + its actions + the
    length of its text / 32. `cache_entries`: microflows remembered, per CPU. `max_meters`: meters. `ring_bytes`:
    upcalls waiting, a power of two. `port_quota_bytes`: of these, at most so much of one port; a small packet takes 448
    bytes.

    ConfigError: a size out of its bounds, which README.md lists.
    """

    max_flows: int = 65536
    max_masks: int = 256
    max_ports: int = 1024
    max_ops: int = 65536
    cache_entries: int = 40960
    max_meters: int = 256
    ring_bytes: int = 8 << 20
    port_quota_bytes: int = 512 << 10

    def __post_init__(self) -> None:
        bounds = {
            "max_flows": (1, 1 << 24),
            "max_masks": (1, MAX_MASKS - 1),
            "max_ports": (1, MAX_PORT + 1),
            "max_ops": (64, 1 << 24),
            "cache_entries": (8, CACHE_WAYS << 21),
            "max_meters": (1, 1 << 20),
            "ring_bytes": (1 << 17, 1 << 30),
            "port_quota_bytes": (1 << 17, 1 << 30),
        }
        for member in fields(self):
            value, (low, high) = getattr(self, member.name), bounds[member.name]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(f"{member.name} {value!r} is outside {low}..{high}")
        if self.ring_bytes & (self.ring_bytes - 1):
            raise ConfigError(f"ring_bytes {self.ring_bytes} is not a power of two")


def _power_of_two(at_least: int) -> int:
    return 1 << max(at_least - 1, 0).bit_length()


def rounded_size(option: str, value: int) -> int:
    """What a size becomes when a datapath is made with it."""
    return CACHE_WAYS * _power_of_two(-(-value // CACHE_WAYS)) if option == "cache_entries" else value


def _root() -> Path:
    return bpf_syscall.ensure_bpffs() / "vswitch"


def _is_whole(folder: Path) -> bool:
    return (folder / "maps" / _STATE).exists()


@contextlib.contextmanager
def _with_privilege(what: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as problem:
        raise PrivilegeError(f"{what} needs root: {problem.filename}: {problem.strerror}") from problem


def datapath_names() -> list[str]:
    """Names of the datapaths on this machine."""
    with _with_privilege("listing datapaths"), contextlib.suppress(FileNotFoundError):
        return sorted(folder.name for folder in _root().iterdir() if _is_whole(folder))
    return []


def check_name(name: str) -> str:
    """`name`, if a datapath can be called so."""
    if (
        not isinstance(name, str)
        or not 1 <= len(name) <= MAX_NAME
        or not (name.isascii() and name.isprintable())
        or set(name) & set("/:.% ")
    ):
        raise ConfigError(
            f"datapath name {name!r} is not 1..{MAX_NAME} letters, digits or signs without / : . % and blanks"
        )
    if name in _RESERVED_NAMES:
        raise ConfigError(f"datapath name {name!r} is reserved: Linux keeps the settings of all devices under it")
    return name


def owner_mark(datapath: str) -> str:
    """The alias of devices that were made for a datapath."""
    return f"vswitch:{datapath}"


def hidden_name(prefix: str, datapath: str, number: int | None = None) -> str:
    """The name of a device that the user need not see: its datapath's own, so that it is known after a crash too."""
    return f"{prefix}{zlib.crc32(datapath.encode()):08x}" + (f"{number:04x}" if number is not None else "")


def is_hidden_name(device: str, datapath: str) -> bool:
    """Whether a device's name is a `hidden_name` of this datapath."""
    return device[:3] in _HIDDEN_PREFIXES and device[3:11] == hidden_name("", datapath)


class State:
    """One datapath's maps and programs in this process. What changes them needs the lock."""

    def __init__(self, name: str) -> None:
        self.name = check_name(name)
        self.folder = _root() / name
        self.memory: dict[str, SharedMap] = {}
        self.maps: dict[str, int] = {}
        self.programs: dict[str, int] = {}
        self.has_remains = False
        self._closed = False
        self._lock_fd = -1
        self._lock_pid = 0
        self._control: SyscallProgram | None = None

    # ---- making, finding, removing

    @classmethod
    def begin(cls, name: str) -> State:
        """Lock a place for a new datapath; `load` and then `finish` make it one. What somebody who was killed left
        there is cleared away. ExistsError if there is one of that name, BusyError if another process is at it."""
        check_name(name)
        bpf_syscall.require_kernel()
        state = cls(name)
        with _with_privilege(f"making datapath {name}"):
            state.has_remains = state.folder.is_dir()
            for _ in range(_TRIES):
                if _is_whole(state.folder):
                    raise ExistsError(f"datapath {name} exists already")
                with contextlib.suppress(FileNotFoundError, NotFoundError):  # another process removed it just now
                    state.folder.mkdir(0o700, parents=True, exist_ok=True)
                    state.lock()
                    break
            else:
                raise BusyError(f"datapath {name} is made and deleted all the time by other processes")
        try:
            if _is_whole(state.folder):
                raise ExistsError(f"datapath {name} exists already")
            state._clear()
        except BaseException:
            state.close()
            raise
        return state

    @classmethod
    def open(cls, name: str, *, control: bool) -> State:
        """Find a datapath again. NotFoundError if there is none, BusyError if `control` and another process has it,
        ConfigError if `control` and its devices are in another network namespace."""
        state = cls(name)
        try:
            with _with_privilege(f"opening datapath {name}"):
                state._require_whole()
                if control:
                    state.lock()
                state._take_up(writable=control)
            if control:
                state.need_network()
                state.words[DATAPATH.CONTROLLER // 4] = os.getpid()
        except BaseException:
            state.close()
            raise
        return state

    @classmethod
    def claim(cls, name: str) -> State:
        """Lock what is there under a name, whole or not, whatever version made it, to `remove` it. NotFoundError,
        BusyError; ConfigError if its devices are in another network namespace, where they would be left."""
        state = cls(name)
        try:
            with _with_privilege(f"deleting datapath {name}"):
                state.lock()
                if _is_whole(state.folder):
                    state.maps[_STATE] = bpf_syscall.obj_get(state.folder / "maps" / _STATE)
                    state.memory[_STATE] = SharedMap(state.maps[_STATE])
                    if network_exists(state.network):
                        state.need_network()
        except BaseException:
            state.close()
            raise
        return state

    def _require_whole(self) -> None:
        if _is_whole(self.folder):
            return
        if self.folder.is_dir():
            self.lock()  # BusyError: another process is making or deleting it
            raise NotFoundError(
                f"datapath {self.name} is not whole, as somebody was killed while making or deleting it: delete it, or "
                f"make it anew"
            )
        raise NotFoundError(f"datapath {self.name} does not exist")

    def _take_up(self, writable: bool) -> None:
        try:
            self.maps[_STATE] = bpf_syscall.obj_get(self.folder / "maps" / _STATE)
            self.memory[_STATE] = SharedMap(self.maps[_STATE], writable=writable)
            layout = self.words[DATAPATH.LAYOUT // 4]
            if layout != LAYOUT:
                raise LeftoverError(
                    f"datapath {self.name} was made by another version of vswitch (layout {layout}, this is {LAYOUT}): "
                    f"delete it and make it anew"
                )
            for each in _MAPS:
                self.maps[each] = bpf_syscall.obj_get(self.folder / "maps" / each)
            for each in _PROGRAMS:
                self.programs[each] = bpf_syscall.obj_get(self.folder / "programs" / each)
        except NotFoundError:
            raise NotFoundError(f"datapath {self.name} does not exist any more") from None
        self._map_memory(writable)

    def remove(self) -> None:
        """Take the programs down that the pins hold at devices, take the pins away, and close. Needs the lock; what is
        at devices without a pin must be gone (`ports.take_down`)."""
        self._clear()
        self.folder.rmdir()
        self.close()
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()  # when it was the last

    def _clear(self) -> None:
        (self.folder / "maps" / _STATE).unlink(missing_ok=True)
        links = self.folder / "links"
        for pin in links.iterdir() if links.is_dir() else ():
            attach.detach_pin(pin)
        for kind in self.folder.iterdir():
            shutil.rmtree(kind)

    def close(self) -> None:
        """Forget the datapath, which goes on without us."""
        self._closed = True
        if self._lock_fd >= 0 and _STATE in self.memory and self.words[DATAPATH.CONTROLLER // 4] == os.getpid():
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

    @property
    def exists(self) -> bool:
        """Whether it is still there."""
        return _is_whole(self.folder)

    # ---- who may do what

    def lock(self) -> None:
        """Be the one process that changes the datapath. BusyError names who does; NotFoundError: it is gone."""
        while self._lock_fd < 0:
            try:
                fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                raise NotFoundError(f"datapath {self.name} does not exist") from None
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.folder.exists() and os.path.samestat(os.fstat(fd), self.folder.stat()):
                    self._lock_pid = os.getpid()
                    self._lock_fd = fd  # else it was removed, perhaps made anew, just before we had the lock
            except BlockingIOError:
                raise BusyError(f"datapath {self.name} is {self._holder()}") from None
            finally:
                if self._lock_fd != fd:
                    os.close(fd)

    def _holder(self) -> str:
        if not _is_whole(self.folder):
            return "being made or deleted by another process"
        with contextlib.suppress(Exception), contextlib.closing(State.open(self.name, control=False)) as reader:
            pid = reader.words[DATAPATH.CONTROLLER // 4]
            if pid == os.getpid():
                return "controlled by this process already"
            return f"controlled by another process (pid {pid})"
        return "controlled by another process"

    def need_open(self) -> None:
        """ConfigError if it is closed."""
        if self._closed:
            raise ConfigError(f"datapath {self.name} is closed")

    def need_control(self, what: str) -> None:
        """BusyError if this process has not the lock, and so may only read. `what` begins the sentence."""
        self.need_open()
        if self._lock_fd < 0:
            raise BusyError(f"{what} needs control of datapath {self.name}, which was opened for reading")
        if self.is_forked:
            raise BusyError(
                f"{what} needs control of datapath {self.name}, which process {self._lock_pid} has: this one (pid "
                f"{os.getpid()}) was forked from it, and would change the kernel's half behind its back"
            )

    @property
    def is_forked(self) -> bool:
        """Whether this process is a copy of that which took control: fork() copies the lock, and the books, too."""
        return self._lock_fd >= 0 and self._lock_pid != os.getpid()

    def need_network(self) -> None:
        """ConfigError unless this thread is in the network namespace where the datapath's devices are."""
        if self.network == network_cookie():
            return
        if not network_exists(self.network):
            raise LeftoverError(f"datapath {self.name} lost its network namespace, which is gone: delete it")
        raise ConfigError(f"datapath {self.name} is in another network namespace: change it from there")

    @property
    def is_here(self) -> bool:
        """Whether this thread is in the network namespace where the datapath's devices are."""
        return self.network == network_cookie()

    # ---- loading

    def load(self, options: Options, inject_ifindex: int) -> None:
        """Make the maps, load the programs, and pin them; packets to be injected pass device `inject_ifindex`."""
        for kind in ("maps", "programs", "links"):
            (self.folder / kind).mkdir()
        self._load(options, inject_ifindex)
        self._map_memory(writable=True)
        words = self.words
        words[DATAPATH.LAYOUT // 4] = LAYOUT
        words[DATAPATH.CONTROLLER // 4] = os.getpid()
        words[DATAPATH.INJECT_IFINDEX // 4] = inject_ifindex
        words[DATAPATH.OPTION_MASKS // 4] = options.max_masks
        words[DATAPATH.OPTION_QUOTA // 4] = options.port_quota_bytes
        self.bytes[DATAPATH.NETWORK : DATAPATH.NETWORK + 8] = network_cookie().to_bytes(8, "little")
        keys = secrets.token_bytes(DATAPATH.HASH_KEYS_BYTES)
        self.bytes[DATAPATH.HASH_KEYS : DATAPATH.HASH_KEYS + len(keys)] = keys
        tables = crc32c_zero_tables()
        self.bytes[DATAPATH.CRC32C_ZEROS : DATAPATH.CRC32C_ZEROS + len(tables)] = tables

    def finish(self) -> None:
        """From now on it is a datapath that others find."""
        bpf_syscall.obj_pin(self.maps[_STATE], self.folder / "maps" / _STATE)

    def _load(self, options: Options, inject_ifindex: int) -> None:
        cpus = bpf_syscall.cpu_slots()
        stripes = min(_power_of_two(cpus), MAX_STRIPES)
        buckets = _power_of_two(max(options.max_flows // 3, 2))
        cache_buckets = rounded_size("cache_entries", options.cache_entries) // CACHE_WAYS
        entries = {
            "flows": options.max_flows + 1,  # flow 0 is none
            "flow_stats": (options.max_flows + 1) * stripes,
            "index_buckets": buckets,
            "cache": cache_buckets * cpus,
            "ops": options.max_ops,
            "ports": 65536,
            "port_infos": options.max_ports + 1,  # slot 0 is no port's
            "port_counters": (options.max_ports + 1) * stripes,
            "port_rings": options.max_ports + 1,
            "counters": stripes,
            "meters": options.max_meters,
            "policers": 2 * (options.max_ports + 1),
            "injections": 1024,
            "ports_by_ifindex": options.max_ports,
            "ifindex_hints": 65536,
            "upcalls": options.ring_bytes,
        }
        constants = {
            "n_buckets": buckets,
            "n_cache_buckets": cache_buckets,
            "n_flows": options.max_flows + 1,
            "n_stripes": stripes,
            "n_port_slots": options.max_ports + 1,
            "shared_stripes": int(cpus > stripes),
            "inject_ifindex": inject_ifindex,
        }
        with ObjectFile(OBJECT) as loaded:
            for name, count in entries.items():
                loaded.set_max_entries(name, count)
            for name, value in constants.items():
                loaded.set_rodata(name, value.to_bytes(4, "little"))
            loaded.load()
            for number, name in enumerate(_TAIL_CALLED):
                fd = loaded.program_fd(name)
                bpf_syscall.map_update(
                    loaded.map_fd("programs"), number.to_bytes(4, "little"), fd.to_bytes(4, "little")
                )
            for name in _MAPS:
                self._pin("maps", name, loaded.map_fd(name))
            self.maps[_STATE] = os.dup(loaded.map_fd(".bss"))
            for name in _PROGRAMS:
                self._pin("programs", name, loaded.program_fd(name))

    def _pin(self, kind: str, name: str, fd: int) -> None:
        bpf_syscall.obj_pin(fd, self.folder / kind / name)
        (self.maps if kind == "maps" else self.programs)[name] = os.dup(fd)

    def _map_memory(self, writable: bool) -> None:
        for name in (*_MEMORY, _STATE):
            if name not in self.memory:
                self.memory[name] = SharedMap(self.maps[name], writable=writable)

    # ---- use

    @property
    def bytes(self) -> memoryview:
        """The variable `dp`, as bytes."""
        return self.memory[_STATE].view

    @property
    def words(self) -> memoryview:
        """The variable `dp`, as words of 32 bits."""
        return self.bytes.cast("I")

    @property
    def network(self) -> int:
        """The cookie of the network namespace where its devices are."""
        return int.from_bytes(self.bytes[DATAPATH.NETWORK : DATAPATH.NETWORK + 8], "little")

    @property
    def options(self) -> Options:
        """What it was made with; sizes that were rounded up, as they are."""
        return Options(
            max_flows=self.flow_slots - 1,
            max_masks=self.words[DATAPATH.OPTION_MASKS // 4],
            max_ports=self.memory["port_infos"].entries - 1,
            max_ops=self.memory["ops"].entries,
            cache_entries=bpf_syscall.map_info(self.maps["cache"]).max_entries * CACHE_WAYS // bpf_syscall.cpu_slots(),
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
        assert self._lock_fd >= 0, "the stage belongs to who controls the datapath"
        if self._control is None:
            self._control = SyscallProgram(self.programs["vs_control"], CONTROL.size)
        CONTROL.pack_into(self._control.ctx, 0, code, count, mask, first, 0, 0, now_ns)
        self._control.run()
        _, _, _, next_, result, _, _ = CONTROL.unpack_from(self._control.ctx, 0)
        return result, next_
