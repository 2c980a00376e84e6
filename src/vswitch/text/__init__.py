"""Matches, actions and megaflows as the text that users of ovs-dpctl know, read and written. Pure.

OpenFlow's flows, groups and meters, in the text of ovs-ofctl, are in the modules that are called `flow...`: `flow`,
`flow_match`, `flow_actions`, `flow_actions_format`, `flow_groups`, `flow_meters`, `flow_files`, `flow_colors`. Names
are fetched when they are first used: the two kinds of text have little in common.
"""

from __future__ import annotations

import typing

from vswitch.base.lazily import fetching

if typing.TYPE_CHECKING:
    from vswitch.text.actions import format_actions, parse_actions
    from vswitch.text.match import format_match, parse_match
    from vswitch.text.megaflow import format_megaflow, megaflow_to_json, parse_rule

_MODULES = ("vswitch.text.match", "vswitch.text.actions", "vswitch.text.megaflow")

__all__ = [
    "format_actions",
    "format_match",
    "format_megaflow",
    "megaflow_to_json",
    "parse_actions",
    "parse_match",
    "parse_rule",
]

if not typing.TYPE_CHECKING:  # to mypy this would say that every name exists
    __getattr__ = fetching(globals(), _MODULES)
