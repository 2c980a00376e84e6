"""The text of a trace: who stands below whom, and how far in. Layouts are those that ofproto/trace prints."""

from __future__ import annotations

import json
from textwrap import dedent

from tests.pipeline import PlainGroup, PlainView, set_field
from tests.unit.test_ofproto_translate import UDP
from vswitch.messages import actions as a
from vswitch.messages.flows import Bucket, GroupType
from vswitch.messages.match import FlowMatch
from vswitch.ofproto.trace import Writers, trace
from vswitch.packet.parse import parse


def word(action: a.FlowAction) -> str:
    match action:
        case a.Output(port):
            return f"output:{port}"
        case a.Resubmit(_, table):
            return f"resubmit(,{table})"
        case a.GotoTable(table):
            return f"goto_table:{table}"
        case a.SetField(field, value):
            return f"set_field:{value}->{field.name}"
        case a.Group(number):
            return f"group:{number}"
        case a.WriteActions(actions):
            return f"write_actions({','.join(map(word, actions))})"
    return type(action).__name__


WRITERS = Writers(
    flow=lambda key: f"{key & 0xFFFF}",
    match=lambda match: "ip" if match.mask else "",
    action=word,
    megaflow=lambda match: f"{match.value & 0xFFFF}",
    datapath_actions=lambda actions: ",".join(type(each).__name__ for each in actions),
)
IP = FlowMatch(eth_type=0x0800)


def traced(view: PlainView) -> str:
    return trace(view, parse(UDP, 1), UDP, 0).text(WRITERS)


def test_the_last_table_of_a_list_stands_below() -> None:
    view = PlainView()
    view.add(0, IP, set_field("reg0", 5), a.Resubmit(table=1))
    view.add(1, IP, a.Resubmit(table=2), a.Resubmit(table=3), cookie=5)
    view.add(2, FlowMatch(), a.Output(3))
    view.add(3, IP, a.Output(4), a.Resubmit(table=4))
    assert traced(view) == dedent(
        """\
        Flow: 1

        bridge("br0")
        -------------
         0. ip, priority 100
            set_field:5->reg0
            resubmit(,1)
         1. ip, priority 100, cookie 0x5
            resubmit(,2)
             2. priority 100
                    output:3
            resubmit(,3)
         3. ip, priority 100
            output:4
            resubmit(,4)
         4. No match.
            drop

        Final flow: 1
        Megaflow: 1
        Datapath actions: Output,Output
        """
    )


def test_with_an_action_set_all_stands_inside() -> None:
    view = PlainView()
    view.groups[1] = PlainGroup(GroupType.ALL, (Bucket((set_field("eth_dst", 7), a.Output(2))), Bucket((a.Output(3),))))
    view.add(0, IP, a.Group(1), a.WriteActions((set_field("ipv4_src", 9), a.Output(4))), a.GotoTable(1))
    view.add(1, FlowMatch(), a.Output(1), a.GotoTable(2))
    view.add(2, FlowMatch())
    assert traced(view) == dedent(
        """\
        Flow: 1

        bridge("br0")
        -------------
         0. ip, priority 100
            group:1
            bucket 0
                    set_field:7->eth_dst
                    output:2
            bucket 1
                    output:3
            write_actions(set_field:9->ipv4_src,output:4)
             -> action set is: set_field:9->ipv4_src,output:4
            goto_table:1
             1. priority 100
                    output:1
                     >> skipping output to input port
                    goto_table:2
                 2. priority 100
                    drop
        --. Executing action set:
            set_field:9->ipv4_src
            output:4

        Final flow: 1
        Megaflow: 1
        Datapath actions: Clone,Output,SetField,Output
        """
    )


def test_nothing_changes_and_all_is_in_the_dict() -> None:
    view = PlainView()
    view.add(0, IP, a.GotoTable(1))
    shown = trace(view, parse(UDP, 1), UDP, 0)
    assert "Final flow: unchanged\n" in shown.text(WRITERS)
    told = json.loads(json.dumps(shown.as_dict(WRITERS)))
    assert told["steps"][0]["rule"] == {"match": "ip", "priority": 100, "cookie": 0}
    assert told["steps"][0]["steps"][0]["steps"][0]["rule"] is None
    assert told["datapath_actions"] == "Userspace"


def test_an_error_is_told() -> None:
    view = PlainView()
    view.add(0, IP, a.PushPbb(), a.Output(2))
    shown = traced(view)
    assert ">>>> push_pbb is not supported <<<<" in shown
    assert shown.endswith(
        "Datapath actions: drop\nTranslation failed (push_pbb is not supported), packet is dropped.\n"
    )
