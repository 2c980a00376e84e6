"""Packet-ins under way to a controller."""

from __future__ import annotations

from vswitch.bridge.pacing import WAITING, Pacer
from vswitch.bridge.window import MARK, MOST, PATIENCE_NS, Window


def fill(window: Window) -> list[int]:
    """Send as many as may go, each mark at the time that its xid says; the marks."""
    xids: list[int] = []
    while window.is_open:
        window.sent()
        if window.wants_mark:
            xids.append(len(xids) + 1)
            window.marked(xids[-1], xids[-1])
    return xids


def test_so_many_go_and_no_more_until_an_echo_comes_back() -> None:
    window = Window()
    xids = fill(window)
    assert (window.under_way, len(xids)) == (MOST, MOST // MARK)
    assert window.heard(xids[0])
    assert window.under_way == MOST - MARK
    assert window.is_open
    assert window.heard(xids[-1]), "who has read this has read all before"
    assert window.under_way == 0
    assert not window.heard(xids[1])


def test_other_echoes_say_nothing() -> None:
    window = Window()
    fill(window)
    assert not window.heard(10**6)
    assert not window.is_open


def test_who_answers_no_echoes_is_not_waited_for_too_long() -> None:
    window = Window()
    xids = fill(window)
    window.tick(PATIENCE_NS)
    assert not window.is_open
    window.tick(PATIENCE_NS + xids[0])
    assert window.under_way == MOST - MARK
    window.tick(2 * PATIENCE_NS)
    assert window.under_way == 0


def test_what_must_wait_goes_by_turns_of_the_ports() -> None:
    window = Window()
    sent: list[tuple[int, int]] = []

    def send(item: tuple[int, int]) -> None:
        sent.append(item)
        window.sent()
        if window.wants_mark:
            window.marked(len(sent), 0)

    pacer = Pacer(send, may_send=lambda: window.is_open)
    for number in range(MOST + 2 * WAITING):
        pacer.offer(1, (1, number), 0)
    assert len(sent) == MOST
    assert len(pacer) == WAITING
    pacer.offer(2, (2, 0), 0)
    assert pacer.dropped == WAITING + 1, "the flood has lost what came last"
    window.heard(MARK)
    pacer.turn(0)
    assert (2, 0) in sent[-MARK:]
    assert len(sent) == MOST + MARK
