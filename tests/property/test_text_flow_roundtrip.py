"""What is written in the text of ovs-ofctl is read as the same thing, and no text makes anything but TextError."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.openflow_texts import any_actions, flow_mods, flow_stats, group_mods, matches, meters
from vswitch.base.errors import TextError
from vswitch.messages.actions import FlowAction
from vswitch.messages.flows import FlowCommand, FlowMod, GroupMod
from vswitch.messages.match import FlowMatch
from vswitch.messages.stats import FlowStats, MeterConfig
from vswitch.text.flow import format_flow, parse_flow, parse_flow_stats
from vswitch.text.flow_actions import parse_flow_actions
from vswitch.text.flow_actions_format import format_flow_actions
from vswitch.text.flow_colors import paint_flow
from vswitch.text.flow_files import LineError, parse_bundle, parse_packet_out, parse_tlv_maps
from vswitch.text.flow_groups import format_group, parse_group
from vswitch.text.flow_match import format_flow_match, parse_flow_match
from vswitch.text.flow_meters import format_meter, parse_meter

NAMES = {1: "eth0", 2: "s1-eth2", 3: 'a "b\\', 4: "5", 6: "output", 7: "LOCAL"}
NUMBERS = {name: number for number, name in NAMES.items()}


def fault_of(read: Callable[[str], object], text: str) -> int | None:
    """Where the text goes wrong, None if it does not."""
    try:
        read(text)
    except LineError as error:
        fault = error.error
        return fault.position if isinstance(fault, TextError) and fault.text in text else -1
    except TextError as error:
        return error.position if error.text == text else -1
    return None


@given(matches())
def test_a_match_is_read_as_it_was_written(match: FlowMatch) -> None:
    text = format_flow_match(match)
    assert parse_flow_match(text) == match
    assert format_flow_match(parse_flow_match(text)) == text


@given(any_actions())
def test_actions_are_read_as_they_were_written(actions: tuple[FlowAction, ...]) -> None:
    text = format_flow_actions(actions)
    assert parse_flow_actions(text) == actions


@given(flow_stats())
def test_a_dumped_flow_can_be_added(flow: FlowStats) -> None:
    mod = parse_flow(format_flow(flow))
    assert (mod.match, mod.actions, mod.priority, mod.cookie) == (flow.match, flow.actions, flow.priority, flow.cookie)
    assert (mod.table, mod.flags, mod.importance) == (flow.table, flow.flags, flow.importance)
    assert (mod.idle_timeout_s, mod.hard_timeout_s) == (flow.idle_timeout_s, flow.hard_timeout_s)


@given(flow_stats())
def test_a_dumped_flow_is_read_with_its_statistics(flow: FlowStats) -> None:
    read = parse_flow_stats(format_flow(flow))
    if flow.hard_age_s == flow.duration_ns // 1_000_000_000:  # it is not printed then
        flow = replace(flow, hard_age_s=None)
    assert read == flow


@given(flow_stats())
def test_without_statistics_no_number_changes_by_itself(flow: FlowStats) -> None:
    text = format_flow(flow, stats=False)
    for word in ("duration", "n_packets", "n_bytes", "idle_age", "hard_age"):
        assert f"{word}=" not in text
    assert parse_flow(text).actions == flow.actions


@example(FlowMatch(in_port=3))
@example(FlowMatch(in_port=7))
@example(FlowMatch(in_port=0xFFFFFFFE))
@given(matches())
def test_ports_by_name(match: FlowMatch) -> None:
    text = format_flow_match(match, NAMES)
    assert parse_flow_match(text, ports=NUMBERS) == match


@given(group_mods())
def test_a_group_is_read_as_it_was_written(group: GroupMod) -> None:
    assert parse_group(format_group(group)) == group


@given(meters())
def test_a_meter_is_read_as_it_was_written(meter: MeterConfig) -> None:
    mod = parse_meter(format_meter(meter))
    assert (mod.id, mod.flags, mod.bands) == (meter.id, meter.flags, meter.bands)


@given(st.text(alphabet='abcdeginoprstuw_0123456789=,:()[]->/."+# \t', max_size=60))
def test_no_text_raises_anything_but_its_error(text: str) -> None:
    for read in (
        parse_flow,
        lambda text: parse_flow(text, FlowCommand.DELETE_STRICT),
        parse_flow_match,
        parse_flow_actions,
        parse_group,
        parse_meter,
        parse_packet_out,
        parse_tlv_maps,
        lambda text: list(parse_bundle([text])),
    ):
        fault = fault_of(read, text)
        assert fault is None or 0 <= fault <= len(text)


@given(flow_mods(), st.data())
def test_a_flow_with_a_fault_raises_nothing_but_its_error(mod: FlowMod, data: st.DataObject) -> None:
    text = format_flow_match(mod.match) + ",actions=" + format_flow_actions(mod.actions)
    at = data.draw(st.integers(0, len(text) - 1))
    broken = text[:at] + data.draw(st.sampled_from(["", "(", ")", ",", "x", "9", "=", "]", "->"])) + text[at + 1 :]
    fault = fault_of(parse_flow, broken)
    assert fault is None or 0 <= fault <= len(broken)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(TextError, match="nested"):
        parse_flow_actions("clone(" * 40 + ")" * 40)


@given(flow_stats())
def test_colours_change_no_word(flow: FlowStats) -> None:
    text = format_flow(flow)
    assert re.sub("\x1b\\[[0-9;]*[mK]", "", paint_flow(text)) == text
