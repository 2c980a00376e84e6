"""How long megaflows of an earlier process stay."""

from __future__ import annotations

import pytest

from vswitch.bridge.restoration import QUIET_NS, Restoration
from vswitch.messages.base import Message
from vswitch.messages.control import BarrierRequest, BundleControl, BundleControlType, EchoRequest
from vswitch.messages.flows import FlowCommand, FlowMod

MOST_NS = 10 * QUIET_NS
FLOW, BARRIER = FlowMod(FlowCommand.ADD), BarrierRequest()
COMMIT = BundleControl(1, BundleControlType.COMMIT_REQUEST)
Story = list[tuple[float, str, Message]]


@pytest.mark.parametrize(
    ("story", "ends_s"),
    [
        ([], 10),
        ([(0.5, "one", FLOW)], 3.5),
        ([(0.5, "one", BARRIER)], 10),
        ([(0.5, "one", FLOW), (0.6, "other", BARRIER)], 3.5),
        ([(0.5, "one", FLOW), (0.6, "one", EchoRequest())], 3.5),
        ([(0.5, "one", FLOW), (0.6, "one", BARRIER)], 1.6),
        ([(0.5, "one", FLOW), (0.6, "one", BARRIER), (1.5, "one", FLOW)], 2.5),
        ([(0.5, "one", FLOW), (0.6, "one", BARRIER), (1.5, "other", FLOW), (2.4, "other", BARRIER)], 3.4),
        ([(0.5, "one", COMMIT)], 1.5),
        ([(at, "one", FLOW) for at in range(9)] + [(9.5, "one", BARRIER)], 10),
    ],
)
def test_they_go_when_flows_are_loaded_and_no_more_come(story: Story, ends_s: float) -> None:
    restoration = Restoration(0, MOST_NS)
    ended_ns = None
    for now_ns in range(0, MOST_NS + 1, QUIET_NS // 10):
        for at_s, session, message in story:
            if round(at_s * QUIET_NS) == now_ns:
                restoration.note(message, session, now_ns)
        if restoration.is_due(now_ns):
            ended_ns = now_ns
            break
    assert ended_ns == round(ends_s * QUIET_NS)
    restoration.end()
    restoration.note(FLOW, "one", MOST_NS)
    restoration.note(BARRIER, "one", MOST_NS)
    assert not restoration
    assert not restoration.is_due(100 * MOST_NS)


def test_without_any_there_is_nothing_to_wait_for() -> None:
    restoration = Restoration(0, 0)
    assert not restoration
    assert not restoration.is_due(1)
