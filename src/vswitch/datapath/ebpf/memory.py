"""Memory that Python and eBPF programs share: array maps, and the ring buffer through which packets come up.

Both are mmap'ed, so that reading and writing them is indexing a memoryview, without a system call. Nothing here
orders or locks what is in a `SharedMap`: a store of 8 aligned bytes through a view cast to "Q" is a single store
(so is 4 through "I"), anything longer is many; who writes a record that a program may be reading must publish it by one
such store at the end, and wait a grace period (`bpf_syscall.wait_for_programs`) before using its place again.

Invariant: a view never outlives its memory. Python's mmap refuses to unmap while memoryviews of it are alive; then
the memory goes with the last of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading
from collections.abc import Iterator

from vswitch.datapath.ebpf.bpf_syscall import map_info, raise_errno

__all__ = ["RingBuffer", "RingOnlooker", "SharedMap", "release_views"]

# struct bpf_ringbuf_hdr: u32 length with two flags, u32 page offset; the record follows, padded to 8
_HEADER_BYTES = 8
_BUSY = 1 << 31
_DISCARD = 1 << 30


class SharedMap:
    """The values of an array map made with BPF_F_MMAPABLE (or of .data, .bss, .rodata), as memory.

    view: memoryview of bytes, `entries * stride` long; `view.cast("Q")` for words.
    address: where the view begins, for iovecs and ctypes.
    stride: bytes from one value to the next, `value_size` rounded up to 8.
    """

    __slots__ = ("_memory", "address", "entries", "stride", "value_size", "view")

    def __init__(self, fd: int, writable: bool = True) -> None:
        """Map the whole of map `fd`, which may be closed afterwards. .rodata, once loaded, is not writable."""
        info = map_info(fd)
        self.value_size = info.value_size
        self.stride = (info.value_size + 7) & ~7
        self.entries = info.max_entries
        length = self.entries * self.stride
        self._memory = _map(fd, info.name, length, 0, writable)
        self.address = _address(self._memory)
        self.view = memoryview(self._memory)[:length]

    def value(self, index: int) -> memoryview:
        """The `value_size` bytes of one value."""
        start = range(0, self.entries * self.stride, self.stride)[index]
        return self.view[start : start + self.value_size]

    def close(self) -> None:
        """Unmap; memory of which other views are alive goes with the last of them."""
        _unmap(self._memory, self.view)


class RingBuffer:
    """The one reader of a BPF_MAP_TYPE_RINGBUF.

    Positions count bytes since the ring was made and never wrap. Of three, the kernel keeps two: `producer`, up to
    where space is reserved, and `consumer`, up to where it may be overwritten. The third is this reader's: `records`
    moves it, `advance` gives what lies behind it back to the kernel. Until then records stay where they are, so
    iovecs may point into them.

    view: read-only memoryview of the data area twice in a row (as the kernel maps it), so that no record wraps.
    address: where the view begins. size: bytes of the data area (once). fd: readable (epoll) when there are records.
    """

    __slots__ = (
        "_consumer", "_consumer_page", "_data_pages", "_fence", "_headers", "_position", "_producer",
        "address", "fd", "size", "view",
    )  # fmt: skip

    def __init__(self, fd: int, writable: bool = True) -> None:
        """Map ring `fd`, of which a duplicate is kept, unless it is only to be looked at. Reading goes on where an
        earlier reader stopped."""
        info = map_info(fd)
        page = mmap.PAGESIZE
        self.size = info.max_entries
        self._consumer_page = _map(fd, info.name, page, 0, writable)
        self._data_pages = _map(fd, info.name, page + 2 * self.size, page, False)
        self._consumer = memoryview(self._consumer_page).cast("Q")
        self._producer = memoryview(self._data_pages)[:page].cast("Q")
        self.view = memoryview(self._data_pages)[page:]
        self._headers = self.view.cast("I")
        self.address = _address(self._data_pages) + page
        self._fence = threading.Lock()
        self._position = self.consumer
        self.fd = os.dup(fd) if writable else -1

    @property
    def consumer(self) -> int:
        """Up to where the kernel may overwrite."""
        return self._consumer[0]

    @property
    def producer(self) -> int:
        """Up to where programs have reserved space."""
        return self._producer[0]

    @property
    def position(self) -> int:
        """Up to where `records` has read."""
        return self._position

    def records(self, limit: int) -> list[int]:
        """The next records, `limit` at most, by their offset into `view`. What programs discarded is
        skipped; a record that a program is still writing ends the list, as nothing behind it may be taken before it."""
        # hot: once per batch of upcalls; about 0.15 us a record
        position, mask, headers = self._position, self.size - 1, self._headers
        end = self._producer[0]
        self._order()
        found: list[int] = []
        while position < end and len(found) < limit:
            offset = position & mask
            length = headers[offset >> 2]
            if length >= _DISCARD:
                if length & _BUSY:
                    break
                length -= _DISCARD
            else:
                found.append(offset + _HEADER_BYTES)
            position += (length + _HEADER_BYTES + 7) & -8
        self._order()
        self._position = position
        return found

    def position_of(self, offset: int) -> int:
        """Where the record begins that `records` gave by this offset, if it has not been given back."""
        consumer = self.consumer
        return consumer + (offset - _HEADER_BYTES - consumer & self.size - 1)

    def advance(self, position: int | None = None) -> None:
        """Let the kernel overwrite what lies before `position` (by default all that was read)."""
        self._order()
        self._consumer[0] = self._position if position is None else position

    def close(self) -> None:
        """Unmap; what was read but not given back by `advance` is there for the next reader."""
        _unmap(self._data_pages, self._headers, self.view, self._producer)
        _unmap(self._consumer_page, self._consumer)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _order(self) -> None:
        """Keep the processor from moving later loads before earlier ones: x86 does not, others may. Python has no
        fence; taking a lock is one."""
        with self._fence:
            pass


class RingOnlooker(RingBuffer):
    """Looks at what goes through a ring that another process reads, and changes nothing: records may be overwritten at
    any time, so what is given out is a copy of one that was whole.

    overrun: bytes that were overwritten before they could be copied.
    """

    __slots__ = ("overrun",)

    def __init__(self, fd: int) -> None:
        """Map ring `fd`. Looking begins with what comes from now on."""
        super().__init__(fd, writable=False)
        self._position = self.producer
        self.overrun = 0

    def copies(self, limit: int = 1 << 62) -> Iterator[bytes]:
        """What has come since the last call, at most `limit` records or gaps."""
        for _ in range(limit):
            position, length = self._position, 0
            found = self.records(1)
            if found:
                at = found[0]
                length = self._headers[(at - _HEADER_BYTES) >> 2] & ~(_BUSY | _DISCARD)
                copy = bytes(self.view[at : at + length])
                self._order()
            if self.producer - position >= self.size:  # at its place there may be something else by now
                self._position = self.consumer
                self.overrun += self._position - position
            elif found:
                yield copy
            else:
                return


def release_views(*owners: object) -> None:
    """Release the memoryviews among the attributes of these objects, which are of no use afterwards: while one view is
    alive, the kernel keeps the whole map."""
    for owner in owners:
        for value in vars(owner).values():
            if isinstance(value, memoryview):
                value.release()


def _map(fd: int, name: str, length: int, offset: int, writable: bool) -> mmap.mmap:
    length = (length + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    try:
        return mmap.mmap(fd, length, flags=mmap.MAP_SHARED, prot=protection, offset=offset)
    except OSError as problem:
        raise_errno(f"mapping {length} bytes of map {name}", problem.errno or 0)


def _unmap(memory: mmap.mmap, *views: memoryview) -> None:
    with contextlib.suppress(BufferError):  # a caller still holds a view: the mapping goes with it
        for view in views:
            view.release()
        memory.close()


class _PyBuffer(ctypes.Structure):
    """Py_buffer (CPython's stable ABI, 3.11)."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("rest", ctypes.c_void_p * 5),
    )


def _address(memory: mmap.mmap) -> int:
    """Where a mapping begins. ctypes' from_buffer would do, but refuses read-only memory."""
    buffer = _PyBuffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(memory), ctypes.byref(buffer), 0)
    address = buffer.buf or 0
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return address
