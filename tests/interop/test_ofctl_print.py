"""Messages as `vswitch ofctl ofp-parse` prints them, beside ovs-ofctl: random ones of every kind and version.

Many messages go into one file, each followed by a barrier request whose number says where the next one begins.
"""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.ofctl_messages import core, statistics
from vswitch.base.errors import VswitchError
from vswitch.cli.ofctl.printing import format_bytes
from vswitch.messages.control import ControllerRole, RoleRequest
from vswitch.messages.errors import OpenFlowError
from vswitch.messages.flows import FlowMod, FlowRemoved, GroupMod, TableMod
from vswitch.messages.stats import TableFeaturesRequest
from vswitch.openflow.codec import decode, encode

VERSIONS = (1, 2, 3, 4, 5, 6)
MARK = 0xFADE0000
VERBOSITY = 2


def cut(data: bytes) -> list[bytes]:
    """Messages that stand one behind the other."""
    found = []
    while data:
        (length,) = struct.unpack_from("!H", data, 2)
        found.append(data[:length])
        data = data[length:]
    return found


def theirs(messages: list[bytes], file: Path) -> list[str]:
    """What ovs-ofctl says of each."""
    marked = (each + struct.pack("!BBHI", 1, 18, 8, MARK + at) for at, each in enumerate(messages))
    file.write_bytes(b"".join(marked))
    done = subprocess.run(["ovs-ofctl", "-vANY:off", "ofp-parse", str(file)], capture_output=True, text=True,
                          errors="replace", check=True)  # fmt: skip
    parts = re.split(r"OFPT_BARRIER_REQUEST \(xid=0xfade[0-9a-f]{4}\):\n", done.stdout)
    assert len(parts) == len(messages) + 1
    return parts[:-1]


def differs(message: Any, version: int) -> bool:
    """What the two are known to print differently, and why."""
    if isinstance(message, TableMod):
        return True  # ovs-ofctl takes the flags of eviction for whether there is eviction
    if getattr(message, "kind", "") == "table_features" or isinstance(message, TableFeaturesRequest):
        return True  # of tables that say but half of what they can do, each makes something else
    if isinstance(message, FlowMod | FlowRemoved):
        names = {each.name for each, _, _ in message.match.fields()}
        if version == 2 and message.match.take("eth_type")[0] == 0x86DD:
            return True  # of OpenFlow 1.1's IPv6 in its own structure, ovs-ofctl reads the Ethernet type alone
        if names & {"recirc_id", "ip_frag", "packet_type"} or any(name.startswith("ct_") for name in names):
            return True  # ovs-ofctl adds `eth` to one, and leaves some of the others out
        return "vlan_tci" in names and not message.match.take("vlan_tci")[0]
    if isinstance(message, RoleRequest):
        return message.role is ControllerRole.EQUAL  # its generation id means nothing, and is not kept
    if isinstance(message, GroupMod):
        return version in (1, 6)  # a bucket without a weight has the weight 1 there
    return False


def compare(messages: list[Any], version: int, file: Path) -> int:
    """Compares them; how many Open vSwitch understands."""
    encoded = []
    for message in messages:
        if not differs(message, version):
            try:
                encoded += cut(encode(message, version, 7))
            except VswitchError:  # cannot be said in this version
                continue
    understood = 0
    for data, text in zip(encoded, theirs(encoded, file), strict=True):
        if "***decode error" not in text:
            understood += 1
            ours = format_bytes(data, VERBOSITY)
            if "persistent" not in ours:  # of nat(dst,persistent), ovs-ofctl says nat(dst)
                assert ours == text.replace("resubmit(,)", "resubmit(,255)")  # which ovs-ofctl does not read itself
    return understood


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kinds", [core, statistics], ids=["messages", "statistics"])
def test_random_messages_print_the_same(kinds: Any, version: int, tmp_path: Path) -> None:
    @settings(
        max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None,
        phases=[Phase.generate],
    )  # fmt: skip
    @given(st.one_of(*kinds(version).values()))
    def draw(message: Any) -> None:
        drawn.append(message)

    drawn: list[Any] = []
    draw()
    understood = compare(drawn, version, tmp_path / "messages")
    assert understood > 20


def frame(version: int, kind: int, body: bytes) -> bytes:
    return struct.pack("!BBHI", version, kind, 8 + len(body), 1) + body


BROKEN = [
    b"", b"\1\2", frame(4, 1, struct.pack("!HH", 1, 1)), frame(4, 1, struct.pack("!HH", 1, 1) + b"abc"),
    frame(4, 1, struct.pack("!HH", 0, 0) + b"no\x01 such\nversion\0"),
    frame(1, 1, struct.pack("!HH", 1, 6) + frame(1, 2, b"abcdefgh")),
    frame(4, 1, struct.pack("!HH", 3, 6) + frame(4, 14, b"x" * 80)[:64]),
    frame(1, 4, struct.pack("!II", 0x2320, 99)), frame(4, 4, struct.pack("!II", 0x1234, 99)), frame(4, 99, b"abc"),
    frame(4, 9, struct.pack("!HH", 4, 100)), frame(4, 18, struct.pack("!HH4x", 77, 0)),
]  # fmt: skip


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: data[:16].hex())
def test_what_is_no_message_is_shown_in_bytes(data: bytes) -> None:
    done = subprocess.run(
        ["ovs-ofctl", "-vANY:off", "ofp-print", data.hex()], capture_output=True, text=True, check=True
    )
    assert format_bytes(data, VERBOSITY) == done.stdout


def test_every_broken_message_says_what_is_wrong() -> None:
    for data in BROKEN[9:]:
        with pytest.raises(OpenFlowError):
            decode(data)
