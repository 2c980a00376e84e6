"""`vsctl` among the commands of `vswitch`: how it is called, and what shells complete it by."""

from __future__ import annotations

from collections.abc import Sequence

from vswitch.cli.arguments import Argument, Program, argument
from vswitch.cli.vsctl.options import GLOBAL, SHORT
from vswitch.cli.vsctl.table import COMMANDS

__all__ = ["VSCTL", "main"]


def main(line: Sequence[str]) -> int:
    """Do what the line says; the exit status."""
    from vswitch.cli.vsctl.main import main as run

    return run(line, "vswitch vsctl")


def _options() -> tuple[Argument, ...]:
    letters = {name: f"-{letter}" for letter, name in SHORT.items()}
    found = []
    for name, takes in GLOBAL.items():
        flags = (letters[name], f"--{name}") if name in letters else (f"--{name}",)
        found.append(argument(*flags, metavar="VALUE") if takes else argument(*flags, action="store_true"))
    names = sorted({each.rstrip("=") for command in COMMANDS.values() for each in command.options})
    return (*found, *(argument(name, action="store_true", help="of a command") for name in names))


VSCTL = Program(
    "vsctl",
    "the configuration in the database, as ovs-vsctl has it: bridges, ports, records",
    "vswitch.cli.vsctl.program",
    (*_options(), argument("command", metavar="COMMAND", choices=tuple(COMMANDS), help="what is to be done")),
    example="""
vswitch vsctl add-br br0 -- add-port br0 eth1 tag=10
vswitch vsctl set bridge br0 fail_mode=secure
vswitch vsctl show
""",
)
