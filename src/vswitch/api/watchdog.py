"""Policies that do not come to an end: after a while the thread that runs one is made to raise.

Python delivers such an exception where a thread may be interrupted: between two bytecodes, at calls and loops. It must
not fall into our own code, nor into a change of state, which would be left half done. So a second thread sends it only
while a policy runs and changes nothing (it holds the lock `changing` once, not twice), and what was sent too late is
taken back before the run is left. One that falls into a destructor is lost, as all that those raise: another is sent. A
policy that waits in C code (a sleep, a socket) is not interrupted before that returns.

Invariant: when `call` is left, nothing is on its way.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from time import monotonic_ns
from typing import Any

from vswitch.base.errors import VswitchError
from vswitch.policy.run import laid_out
from vswitch.policy.state import changing

__all__ = ["PolicyTimeoutError", "Watchdog"]

_PATIENCE_S = 0.001
"""How soon to look again at a policy that was changing state just now."""

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)
_take_back_from = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)


class PolicyTimeoutError(VswitchError):
    """A policy took longer than its limit to decide about one packet."""


class _Interruption(BaseException):
    """What is raised in the policy: not an Exception, of which policies may catch all."""


class Watchdog:
    """Watches over what one thread calls by `call`, from `begin` to `end`."""

    def __init__(self, limit_s: float) -> None:
        self._limit_ns = round(limit_s * 1e9)
        self._thread = 0
        self._since_ns = 0  # 0: no policy runs
        self._firing = False
        self._lock = threading.Lock()
        self._over = threading.Event()

    def begin(self) -> None:
        """This thread calls from now on."""
        self._thread = threading.get_ident()
        self._over = threading.Event()
        threading.Thread(target=self._watch, args=(self._over,), name="policy-watchdog", daemon=True).start()

    def end(self) -> None:
        """No more calls."""
        self._over.set()

    def call(self, policy: Callable[[Any], Any], packet: Any) -> Any:
        """What `policy(packet)` answers. PolicyTimeoutError: it takes too long."""
        # hot: once per upcall
        self._since_ns = monotonic_ns()
        try:
            try:
                return laid_out(policy(packet))
            finally:
                self._since_ns = 0
                if self._firing:  # written before `_since_ns` is read there, and read after it was written here
                    self._take_back()
        except _Interruption as problem:
            limit_s = self._limit_ns / 1e9
            raise PolicyTimeoutError(
                f"the policy took longer than {limit_s:g} s to decide about one packet"
            ) from problem

    def _take_back(self) -> None:
        with self._lock:
            _take_back_from(self._thread, None)
            self._firing = False

    def _watch(self, over: threading.Event) -> None:
        wait_s = self._limit_ns / 4e9
        while not over.wait(wait_s):
            since_ns = self._since_ns
            late = since_ns and monotonic_ns() - since_ns > self._limit_ns
            wait_s = _PATIENCE_S if late and not self._fire(since_ns) else self._limit_ns / 4e9

    def _fire(self, since_ns: int) -> bool:
        """False: try again soon."""
        with self._lock:
            self._firing = True
            # From here to the call there must be no place where Python switches threads, as behind any call. The text
            # of a lock is what tells how often its owner has taken it.
            if self._since_ns == since_ns and "count=1 " in f"{changing!r}":
                _raise_in(self._thread, _Interruption)
                return True
            return self._since_ns != since_ns
