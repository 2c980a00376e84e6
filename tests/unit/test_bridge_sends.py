"""Numbers of what packets are sent up for: how long they stand for it."""

from __future__ import annotations

from vswitch.bridge.sends import LINGER, Sends
from vswitch.messages.match import FlowMatch
from vswitch.ofproto.translation import ControllerSend


def send(cookie: int) -> ControllerSend:
    return ControllerSend(0, 0, 0xFFFF, b"", 0, cookie, FlowMatch())


def known(sends: Sends, number: int) -> ControllerSend | None:
    return sends.get(number.to_bytes(8, "big"))


def come_and_go(sends: Sends, cookies: range) -> None:
    for cookie in cookies:
        numbers = sends.acquire([send(cookie)])
        assert numbers is not None
        sends.release(numbers)


def test_a_number_that_is_given_back_is_known_until_so_many_others_are() -> None:
    sends = Sends()
    (number,) = sends.acquire([send(0)]) or ()
    sends.release((number,))
    come_and_go(sends, range(1, LINGER))
    assert known(sends, number) == send(0)
    come_and_go(sends, range(LINGER, LINGER + 1))
    assert known(sends, number) is None
    assert sends.unknown == 1
    assert len(sends) == LINGER


def test_a_number_that_is_given_back_twice_is_known_for_as_long_after_the_second_time() -> None:
    sends = Sends()
    come_and_go(sends, range(1))
    come_and_go(sends, range(1, LINGER))
    (number,) = sends.acquire([send(0)]) or ()
    sends.release((number,))
    come_and_go(sends, range(LINGER, 2 * LINGER - 1))
    assert known(sends, number) == send(0)
    come_and_go(sends, range(2 * LINGER - 1, 2 * LINGER))
    assert known(sends, number) is None


def test_a_number_that_somebody_has_is_known_whatever_comes_and_goes() -> None:
    sends = Sends()
    come_and_go(sends, range(1))
    (number,) = sends.acquire([send(0)]) or ()
    come_and_go(sends, range(1, 3 * LINGER))
    assert known(sends, number) == send(0)
    assert len(sends) == LINGER + 1
