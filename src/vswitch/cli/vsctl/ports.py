"""The commands on ports, bonds and interfaces."""

from __future__ import annotations

from vswitch.cli.vsctl import CommandError, check
from vswitch.cli.vsctl.records import assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vswitch.cli.vsctl.bridges import Bridge, Port, Switch
    from vswitch.cli.vsctl.options import Call
    from vswitch.cli.vsctl.plan import Plan

__all__ = [
    "add_bond", "add_bond_iface", "add_port", "del_bond_iface", "del_port", "iface_to_br", "list_ifaces", "list_ports",
    "port_to_br",
]  # fmt: skip


def list_ports(plan: Plan, call: Call) -> None:
    """`list-ports`."""
    for name in sorted(plan.switch.bridge(call.words[0]).ports):
        plan.out.line(name)


def list_ifaces(plan: Plan, call: Call) -> None:
    """`list-ifaces`."""
    bridge = plan.switch.bridge(call.words[0])
    names = (name for port in bridge.ports.values() for name in port.interfaces if name != bridge.name)
    for name in sorted(names):
        plan.out.line(name)


def port_to_br(plan: Plan, call: Call) -> None:
    """`port-to-br`."""
    plan.out.line(plan.switch.port(call.words[0]).bridge.name)


def iface_to_br(plan: Plan, call: Call) -> None:
    """`iface-to-br`."""
    plan.out.line(plan.switch.interface(call.words[0]).port.bridge.name)


def add_port(plan: Plan, call: Call) -> None:
    """`add-port`."""
    bridge, name, *settings = call.words
    _add(plan, call, bridge, name, [name], settings)


def add_bond(plan: Plan, call: Call) -> None:
    """`add-bond`."""
    bridge, name, *rest = call.words
    count = next((at for at, word in enumerate(rest) if "=" in word), len(rest))
    check(count >= 2, f"add-bond requires at least 2 interfaces, but only {count} were specified")
    _add(plan, call, bridge, name, rest[:count], rest[count:])


def _add(plan: Plan, call: Call, bridge_name: str, name: str, devices: list[str], settings: list[str]) -> None:
    check(name, "port name must not be empty string")
    check(all(devices), "interface name must not be empty string")
    switch = plan.switch
    there = switch.ports.get(name)
    if "--may-exist" in call.options and there is not None:
        _check_same(call, there, bridge_name, devices)
        return
    switch.check_free(name, f"cannot create a port named {name}")
    for device in devices:
        switch.check_free(device, f"cannot create an interface named {device}")
    bridge = switch.bridge(bridge_name)
    row = switch.new_port(name, [switch.new_interface(device) for device in devices])
    if "--fake-iface" in call.options:
        plan.rows.write(row, "bond_fake_iface", (True,))
    if bridge.parent is not None:
        plan.rows.write(row, "tag", (bridge.vlan,))
    for word in settings:
        assign(plan, row, word)
    switch.add_port(bridge, row)


def _check_same(call: Call, there: Port, bridge: str, devices: list[str]) -> None:
    if there.bridge.name != bridge:
        raise CommandError(f'"{call.text}" but {there.name} is actually attached to bridge {there.bridge.name}')
    names = sorted(there.interfaces)
    if names != sorted(devices):
        raise CommandError(f'"{call.text}" but {there.name} actually has interface(s) {", ".join(names)}')


def del_port(plan: Plan, call: Call) -> None:
    """`del-port`."""
    *bridge, name = call.words
    switch = plan.switch
    port = switch.ports.get(name)
    if "--with-iface" in call.options and port is None and name in switch.interfaces:
        port = switch.interfaces[name].port
    if port is None:
        if "--if-exists" in call.options:
            return
        _refuse_missing(switch, name, "port or interface" if "--with-iface" in call.options else "port")
    assert port is not None
    if bridge:
        _check_has(switch.bridge(bridge[0]), port, name)
    switch.remove_port(port)


def _refuse_missing(switch: Switch, name: str, what: str) -> None:
    if name in switch.bridges:
        why = f"it is the local port for bridge {name} (deleting this port requires deleting the entire bridge)"
        raise CommandError(f"cannot delete port {name} because {why}")
    raise CommandError(f"no {what} named {name}")


def _check_has(bridge: Bridge, port: Port, name: str) -> None:
    if port.bridge is bridge:
        return
    other = f" (although its child bridge {port.bridge.name} does)" if port.bridge.parent is bridge else ""
    raise CommandError(f"bridge {bridge.name} does not have a port {name}{other}")


def add_bond_iface(plan: Plan, call: Call) -> None:
    """`add-bond-iface`."""
    name, device = call.words
    check(device, "interface name must not be empty string")
    switch = plan.switch
    port = switch.port(name)
    there = switch.interfaces.get(device)
    if "--may-exist" in call.options and there is not None:
        if there.port is not port:
            raise CommandError(f'"{call.text}" but {device} is actually attached to port {there.port.name}')
        return
    switch.check_free(device, f"cannot create an interface named {device}")
    plan.rows.verify(port.row, "name")
    switch.add_interface(port, device)


def del_bond_iface(plan: Plan, call: Call) -> None:
    """`del-bond-iface`."""
    *of_port, device = call.words
    switch = plan.switch
    there = switch.interfaces.get(device)
    if there is None and "--if-exists" in call.options:
        return
    interface = switch.interface(device)
    if of_port:
        port = switch.port(of_port[0])
        if interface.port is not port:
            raise CommandError(f"port {port.name} does not have an interface {device}")
    if len(interface.port.interfaces) < 2:
        raise CommandError(f"cannot delete last interface from port {interface.port.name}")
    switch.remove_interface(interface)
