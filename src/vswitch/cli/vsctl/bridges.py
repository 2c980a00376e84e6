"""Bridges, ports and interfaces by name, as the rows have them; and the commands on bridges.

A fake bridge is a port with the column `fake_bridge` and a tag: it stands for the ports of its parent with the same
tag. Names of bridges, ports and interfaces are of one kind: none may be used twice.

Invariant: `Switch.writes` is that of the rows it was made from, or those that its own methods have changed; after any
other change a new one is made.
"""

from __future__ import annotations

from vswitch.cli.vsctl import CommandError, StatusError, check
from vswitch.cli.vsctl.rows import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vswitch.cli.vsctl.options import Call
    from vswitch.cli.vsctl.plan import Plan

__all__ = [
    "Bridge", "Interface", "Port", "Switch", "add_br", "br_exists", "br_get_external_id", "br_set_external_id",
    "br_to_parent", "br_to_vlan", "del_br", "list_br",
]  # fmt: skip

MAX_VLAN = 4095
_FAKE = "fake-bridge-"


class Bridge:
    """A bridge; with a `parent` a fake one, whose `row` is a port's, and whose `vlan` its ports have."""

    __slots__ = ("children", "name", "parent", "ports", "row", "vlan")

    def __init__(self, name: str, row: Row, parent: Bridge | None = None, vlan: int = 0) -> None:
        self.name = name
        self.row = row
        self.parent = parent
        self.vlan = vlan
        self.ports: dict[str, Port] = {}
        self.children: dict[int, Bridge] = {}

    @property
    def real(self) -> Bridge:
        """Itself, or its parent."""
        return self.parent or self


class Port:
    """A port, which is not the local one of a bridge."""

    __slots__ = ("bridge", "interfaces", "name", "row")

    def __init__(self, name: str, row: Row, bridge: Bridge) -> None:
        self.name = name
        self.row = row
        self.bridge = bridge
        self.interfaces: dict[str, Interface] = {}


class Interface:
    """One of a port's."""

    __slots__ = ("name", "port", "row")

    def __init__(self, name: str, row: Row, port: Port) -> None:
        self.name = name
        self.row = row
        self.port = port


class Switch:
    """All of them by name."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rows = plan.rows
        self.root = self._rows.root()
        self.writes = self._rows.writes
        self.bridges: dict[str, Bridge] = {}
        self.ports: dict[str, Port] = {}
        self.interfaces: dict[str, Interface] = {}
        for row in self._rows.referred(self.root, "bridges"):
            name = row.one("name") or ""
            if name in self.bridges:
                plan.log.warning("vsctl", f"{name}: database contains duplicate bridge name")
            else:
                self._fill(self._bridge(name, row))

    def _bridge(self, name: str, row: Row, parent: Bridge | None = None, vlan: int = 0) -> Bridge:
        found = self.bridges[name] = Bridge(name, row, parent, vlan)
        if parent is not None:
            parent.children[vlan] = found
        return found

    def _fill(self, bridge: Bridge) -> None:
        rows = list(self._rows.referred(bridge.row, "ports"))
        for row in rows:
            name, vlan = row.one("name") or "", row.one("tag")
            if row.one("fake_bridge") and vlan is not None and name != bridge.name and name not in self.bridges:
                self._bridge(name, row, bridge, vlan)
        for row in rows:
            name = row.one("name") or ""
            if name in self.bridges:
                continue  # the local port, of the bridge or of a fake one
            if name in self.ports:
                self._plan.log.warning("vsctl", f"{name}: database contains duplicate port name")
                continue
            vlan = row.one("tag")
            port = self._port(name, row, bridge.children.get(vlan, bridge))
            for each in self._rows.referred(row, "interfaces"):
                self._interface(each.one("name") or "", each, port)

    def _port(self, name: str, row: Row, bridge: Bridge) -> Port:
        found = self.ports[name] = bridge.ports[name] = Port(name, row, bridge)
        return found

    def _interface(self, name: str, row: Row, port: Port) -> None:
        if name in self.interfaces:
            if not row.is_new:
                self._plan.log.warning("vsctl", f"{name}: database contains duplicate interface name")
            return
        self.interfaces[name] = port.interfaces[name] = Interface(name, row, port)

    # ---- looking up

    def bridge(self, name: str) -> Bridge:
        """CommandError: there is none of this name. That it is there is verified."""
        found = self.bridges.get(name)
        if found is None:
            raise CommandError(f"no bridge named {name}")
        self._rows.verify(found.real.row, "name")
        if found.parent is not None:
            self._rows.verify(found.row, "name", "tag", "fake_bridge")
        return found

    def real_bridge(self, name: str) -> Row:
        """CommandError: there is none of this name, or it is a fake one."""
        found = self.bridge(name)
        if found.parent is not None:
            raise CommandError(f"{name} is a fake bridge")
        return found.row

    def port(self, name: str) -> Port:
        """CommandError: there is none of this name."""
        found = self.ports.get(name)
        if found is None:
            raise CommandError(f"no port named {name}")
        return found

    def interface(self, name: str) -> Interface:
        """CommandError: there is none of this name."""
        found = self.interfaces.get(name)
        if found is None:
            raise CommandError(f"no interface named {name}")
        return found

    def check_free(self, name: str, what: str) -> None:
        """CommandError: something has this name already. `what`: cannot be done then."""
        if name in self.bridges:
            raise CommandError(f"{what} because a bridge named {name} already exists")
        if (port := self.ports.get(name)) is not None:
            raise CommandError(f"{what} because a port named {name} already exists on bridge {port.bridge.name}")
        if (interface := self.interfaces.get(name)) is not None:
            where = interface.port.bridge.name
            raise CommandError(f"{what} because an interface named {name} already exists on bridge {where}")

    # ---- changing

    def new_interface(self, name: str, kind: str = "") -> Row:
        """A row that nothing refers to yet."""
        row = self._rows.insert("Interface")
        self._rows.write(row, "name", (name,))
        if kind:
            self._rows.write(row, "type", (kind,))
        self._plan.interfaces.append(row)
        return row

    def new_port(self, name: str, interfaces: list[Row]) -> Row:
        """A row that nothing refers to yet."""
        row = self._rows.insert("Port")
        self._rows.write(row, "name", (name,))
        self._rows.write(row, "interfaces", tuple(sorted(each.uuid for each in interfaces)))
        return row

    def add_bridge(self, name: str) -> None:
        """With its local port."""
        port = self.new_port(name, [self.new_interface(name, "internal")])
        row = self._rows.insert("Bridge")
        self._rows.write(row, "name", (name,))
        self._rows.write(row, "ports", (port.uuid,))
        self._rows.put(self.root, "bridges", (row.uuid,))
        self._bridge(name, row)
        self.writes = self._rows.writes

    def add_fake_bridge(self, name: str, parent: Bridge, vlan: int) -> None:
        """With its local port, which is all that there is of it."""
        row = self.new_port(name, [self.new_interface(name, "internal")])
        self._rows.write(row, "fake_bridge", (True,))
        self._rows.write(row, "tag", (vlan,))
        self._rows.verify(parent.row, "ports")  # no other may get the same VLAN
        self._rows.put(parent.row, "ports", (row.uuid,))
        self._rows.verify(parent.row, "name")
        self.writes = -1  # ports of this VLAN are its own from now on

    def add_port(self, bridge: Bridge, row: Row) -> None:
        """Let a bridge have a port, whose interfaces `row` names. By its tag it may be one of a fake bridge."""
        real = bridge.real
        self._rows.put(real.row, "ports", (row.uuid,))
        name, vlan = row.one("name"), row.one("tag")
        port = self._port(name, row, real.children.get(vlan, real) if vlan is not None else real)
        for each in self._rows.referred(row, "interfaces"):
            self._interface(each.one("name"), each, port)
        self.writes = self._rows.writes

    def remove_port(self, port: Port) -> None:
        """With its interfaces."""
        self._rows.take(port.bridge.real.row, "ports", (port.row.uuid,))
        self._delete_port(port.row)
        del port.bridge.ports[port.name], self.ports[port.name]
        for name in port.interfaces:
            self.interfaces.pop(name, None)
        self.writes = self._rows.writes

    def _delete_port(self, row: Row) -> None:
        for each in self._rows.referred(row, "interfaces"):
            self._rows.delete(each)
        self._rows.delete(row)

    def remove_bridge(self, bridge: Bridge) -> None:
        """With its ports."""
        if bridge.parent is not None:
            for row in (bridge.row, *(port.row for port in bridge.ports.values())):
                self._rows.take(bridge.parent.row, "ports", (row.uuid,))
                self._delete_port(row)
        else:
            for row in self._rows.referred(bridge.row, "ports"):
                self._delete_port(row)
            self._rows.take(self.root, "bridges", (bridge.row.uuid,))
            self._rows.delete(bridge.row)
        self.writes = -1

    def add_interface(self, port: Port, name: str) -> None:
        """Let a port have one more."""
        row = self.new_interface(name)
        self._rows.put(port.row, "interfaces", (row.uuid,))
        self._interface(name, row, port)
        self.writes = self._rows.writes

    def remove_interface(self, interface: Interface) -> None:
        """From its port, which has others."""
        self._rows.verify(interface.port.row, "interfaces")  # one has to stay
        self._rows.take(interface.port.row, "interfaces", (interface.row.uuid,))
        self._rows.delete(interface.row)
        del interface.port.interfaces[interface.name], self.interfaces[interface.name]
        self.writes = self._rows.writes


def add_br(plan: Plan, call: Call) -> None:
    """`add-br`."""
    name, *of_parent = call.words
    may_exist = "--may-exist" in call.options
    check(name, "bridge name must not be empty string")
    check(len(of_parent) != 1, "'add-br' command takes exactly 1 or 3 arguments")
    parent_name, vlan = "", 0
    if of_parent:
        parent_name, text = of_parent
        vlan = number(text)
        check(0 <= vlan <= MAX_VLAN, "add-br: vlan must be between 0 and 4095")
    switch = plan.switch
    there = switch.bridges.get(name)
    if may_exist and there is not None:
        _check_same(there, parent_name, vlan)
        return
    switch.check_free(name, f"cannot create a bridge named {name}")
    if not of_parent:
        switch.add_bridge(name)
        return
    parent = switch.bridges.get(parent_name)
    if parent is not None and parent.parent is not None:
        raise CommandError("cannot create bridge with fake bridge as parent")
    if parent is None:
        raise CommandError(f"parent bridge {parent_name} does not exist")
    if vlan in parent.children:
        known = parent.children[vlan].name
        raise CommandError(f"bridge {parent_name} already has a child VLAN bridge {known} on VLAN {vlan}")
    switch.add_fake_bridge(name, parent, vlan)


def number(text: str) -> int:
    """The digits that a word begins with, as C's atoi has it."""
    digits, sign = text.strip(), 1
    if digits[:1] in ("-", "+"):
        sign, digits = (-1 if digits[0] == "-" else 1), digits[1:]
    length = next((at for at, each in enumerate(digits) if each not in "0123456789"), len(digits))
    return sign * int(digits[:length] or 0)


def _check_same(there: Bridge, parent_name: str, vlan: int) -> None:
    name = there.name
    if not parent_name:
        if there.parent is not None:
            what = f"{name} is a VLAN bridge for VLAN {there.vlan}"
            raise CommandError(f'"--may-exist add-br {name}" but {what}')
        return
    said = f'"--may-exist add-br {name} {parent_name} {vlan}"'
    if there.parent is None:
        raise CommandError(f"{said} but {name} is not a VLAN bridge")
    if there.parent.name != parent_name:
        raise CommandError(f"{said} but {name} has the wrong parent {there.parent.name}")
    if there.vlan != vlan:
        raise CommandError(f"{said} but {name} is a VLAN bridge for the wrong VLAN {there.vlan}")


def del_br(plan: Plan, call: Call) -> None:
    """`del-br`."""
    switch = plan.switch
    if "--if-exists" in call.options and call.words[0] not in switch.bridges:
        return
    switch.remove_bridge(switch.bridge(call.words[0]))


def list_br(plan: Plan, call: Call) -> None:
    """`list-br`."""
    real, fake = ("--real" in call.options), ("--fake" in call.options)
    for name, bridge in sorted(plan.switch.bridges.items()):
        is_fake = bridge.parent is not None
        if real == fake or is_fake == fake:
            plan.out.line(name)


def br_exists(plan: Plan, call: Call) -> None:
    """`br-exists`."""
    if call.words[0] not in plan.switch.bridges:
        raise StatusError(2)


def br_to_vlan(plan: Plan, call: Call) -> None:
    """`br-to-vlan`."""
    plan.out.line(str(plan.switch.bridge(call.words[0]).vlan))


def br_to_parent(plan: Plan, call: Call) -> None:
    """`br-to-parent`."""
    plan.out.line(plan.switch.bridge(call.words[0]).real.name)


def br_set_external_id(plan: Plan, call: Call) -> None:
    """`br-set-external-id`."""
    bridge = plan.switch.bridge(call.words[0])
    key = (_FAKE if bridge.parent is not None else "") + call.words[1]
    if len(call.words) > 2:
        plan.rows.put(bridge.row, "external_ids", ((key, call.words[2]),))
    else:
        gone = tuple(pair for pair in bridge.row["external_ids"] if pair[0] == key)
        plan.rows.take(bridge.row, "external_ids", gone)


def br_get_external_id(plan: Plan, call: Call) -> None:
    """`br-get-external-id`."""
    bridge = plan.switch.bridge(call.words[0])
    prefix = _FAKE if bridge.parent is not None else ""
    pairs = {key[len(prefix) :]: value for key, value in bridge.row["external_ids"] if key.startswith(prefix)}
    if len(call.words) > 1:
        if call.words[1] in pairs:
            plan.out.line(pairs[call.words[1]])
        return
    for key, value in sorted(pairs.items()):
        plan.out.line(f"{key}={value}")
