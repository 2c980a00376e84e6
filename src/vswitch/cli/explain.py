"""explain: what a policy would do with a packet, without a datapath."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from vswitch import ConfigError, Datapath, Explanation, Policy, VswitchError, format_actions, format_match
from vswitch.cli.arguments import UsageError
from vswitch.fields import FIELDS
from vswitch.text.values import format_value

__all__ = ["explain"]


def explain(arguments: Namespace) -> None:
    """Load the policy, ask it, and print what it read and what follows."""
    try:
        packet = bytes.fromhex(arguments.packet.replace(":", ""))
    except ValueError:
        raise UsageError(f"packet {arguments.packet[:40]!r} is not hexadecimal") from None
    with Datapath.simulate(ports=1) as datapath:
        datapath.policy(_load(arguments.policy))
        try:
            told = datapath.explain(packet, in_port=arguments.in_port)
        except VswitchError:
            raise
        except Exception as problem:
            raise ConfigError(f"the policy raised {type(problem).__name__}: {problem}") from problem
    if arguments.json:
        print(json.dumps(_to_json(told)))
        return
    for number, stage in enumerate(told.stages):
        if number:
            print("then, as what it has become:")
        _print(stage)


def _print(told: Explanation) -> None:
    read = [f"{name}={format_value(FIELDS[name], *bits)}" for name, bits in told.match.fields().items()]
    for text in (" ".join(read) or "nothing of the packet", *told.state):
        print(f"reads:    {text}")
    print(f"megaflow: {_megaflow(told) or f'none, for this packet alone, as {told.alone}'}")
    print(f"actions:  {format_actions(told.actions)}")
    if told.reply is not None:
        print(f"reply:    {told.reply.frame.hex()}")


def _to_json(told: Explanation) -> dict[str, Any]:
    return {
        "reads": format_match(told.match),
        "state": list(told.state),
        "megaflow": _megaflow(told),
        "actions": format_actions(told.actions),
        "reply": None if told.reply is None else told.reply.frame.hex(),
        "then": None if told.then is None else _to_json(told.then),
    }


def _megaflow(told: Explanation) -> str | None:
    """As text, or None."""
    rule = told.rule
    if rule is None:
        return None
    timeouts = (("idle_timeout", rule.idle_timeout_s), ("hard_timeout", rule.hard_timeout_s))
    words = [f"{name}({seconds:g})" for name, seconds in timeouts if seconds is not None]
    return ",".join((f"priority({rule.priority})", *words, format_match(rule.match)))


def _load(where: str) -> Policy:
    """The policy that FILE.py:NAME or MODULE:NAME names."""
    place, colon, name = where.rpartition(":")
    if not colon:
        raise UsageError(f"policy {where!r} is not FILE.py:NAME or MODULE:NAME")
    try:
        module = _module_of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except VswitchError:
        raise
    except Exception as problem:
        raise ConfigError(f"{place} cannot be loaded: {type(problem).__name__}: {problem}") from problem
    policy = getattr(module, name, None)
    if not callable(policy):
        raise ConfigError(f"{place} has no policy {name!r}")
    return policy  # type: ignore[no-any-return]


def _module_of_file(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise ConfigError(f"{path} does not exist")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as if it was run
    spec.loader.exec_module(module)
    return module
