"""Calls that other threads want to be made in the loop: each is made, or its caller is told that it is not."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable

import pytest

from vswitch import ConfigError
from vswitch.upcalls.calls import Calls

WAIT_S = 10


class Caller:
    """A thread that waits for a call."""

    def __init__(self, calls: Calls, function: Callable[[], object]) -> None:
        self.outcome: list[object] = []
        self._calls = calls
        self._function = function
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    def _call(self) -> None:
        try:
            self.outcome.append(self._calls.wait_for(self._function))
        except Exception as problem:  # noqa: BLE001 - looked at by the test
            self.outcome.append(problem)

    def result(self) -> object:
        self._thread.join(WAIT_S)
        return self.outcome[0]


@pytest.fixture
def calls() -> Calls:
    return Calls()


def is_readable(calls: Calls, timeout_s: float = 0) -> bool:
    return bool(select.select([calls.fd], [], [], timeout_s)[0])


def raise_(problem: BaseException) -> None:
    raise problem


def test_calls_are_made_by_the_thread_of_the_loop(calls: Calls) -> None:
    calls.begin()
    callers = [Caller(calls, lambda: threading.get_ident()), Caller(calls, lambda: raise_(KeyError("so")))]
    while len(calls._waiting) < 2:
        assert is_readable(calls, WAIT_S)
    calls.make()
    assert callers[0].result() == threading.get_ident()
    assert isinstance(callers[1].result(), KeyError)
    assert calls.wait_for(lambda: 7) == 7
    assert not is_readable(calls)


def test_no_loop_is_woken_for_a_call_that_is_made_already(calls: Calls) -> None:
    """However the two threads meet: it would turn for nothing until the next call."""
    calls.begin()
    for number in range(300):
        caller = Caller(calls, lambda number=number: number)  # type: ignore[misc]
        while not caller.outcome:
            calls.make()
        assert caller.result() == number
        assert not is_readable(calls)


def test_who_waits_when_the_loop_ends_is_told(calls: Calls) -> None:
    calls.begin()
    caller = Caller(calls, lambda: None)
    assert is_readable(calls, WAIT_S)
    calls.end()
    assert "has ended before" in str(caller.result())
    assert not is_readable(calls), "the next loop is not woken"
    with pytest.raises(ConfigError, match="no loop takes upcalls"):
        calls.wait_for(lambda: None)


def test_who_waits_when_the_loop_is_interrupted_is_told(calls: Calls) -> None:
    """In the middle of a call."""
    calls.begin()
    callers = [Caller(calls, lambda: raise_(KeyboardInterrupt())) for _ in range(2)]
    while len(calls._waiting) < 2:
        assert is_readable(calls, WAIT_S)
    with pytest.raises(KeyboardInterrupt):
        calls.make()
    assert ["has ended before" in str(caller.result()) for caller in callers] == [True, True]
