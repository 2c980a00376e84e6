"""What commands share while they run: rows, names of rows (`--id=@x`), who prints what.

A run begins anew (`begin`) whenever the snapshot has turned out old. Invariant: what a command prints is held back
until the transaction is done, so that nothing is printed of what did not happen.
"""

from __future__ import annotations

from vswitch.cli.vsctl import CommandError, check
from vswitch.cli.vsctl.rows import ROOT, Row, Rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vswitch.cli.vsctl.bridges import Switch
    from vswitch.cli.vsctl.log import Log
    from vswitch.cli.vsctl.options import Call, Options
    from vswitch.cli.vsctl.output import Sheet
    from vswitch.cli.vsctl.schema import Base, Schema

__all__ = ["Output", "Plan", "Symbol", "Watched"]


class Watched:
    """Which columns of which tables are to be watched."""

    def __init__(self, schema: Schema, options: Options) -> None:
        self.schema = schema
        self.options = options
        self.columns: dict[str, set[str]] = {}
        self.watch(ROOT)

    def watch(self, table: str, *columns: str) -> None:
        """These, too. Columns that the server's schema does not have are passed over: they read as by default."""
        if table in self.schema:
            known = self.schema[table]
            self.columns.setdefault(table, set()).update(name for name in columns if known.has(name))

    def request(self) -> dict[str, Any]:
        """As `monitor` has it. A table without columns is watched for its rows, by one that is there."""
        found = {}
        for table, columns in self.columns.items():
            names = sorted(columns)
            if not names:
                known = self.schema[table].names
                names = ["name"] if "name" in known else known[:1]
            found[table] = {"columns": names}
        return found


class Output:
    """What a command prints: text, or a sheet; `row`: the UUID of a row that is made, which is known afterwards."""

    __slots__ = ("row", "sheet", "text")

    def __init__(self) -> None:
        self.text = ""
        self.sheet: Sheet | None = None
        self.row: Row | None = None

    def line(self, text: str) -> None:
        """One more."""
        self.text += text + "\n"


class Symbol:
    """A name of a row. `is_used`: somebody has asked which row it is; `is_strong`: by a reference that keeps it."""

    __slots__ = ("is_defined", "is_new", "is_strong", "is_used", "uuid")

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.is_defined = self.is_new = self.is_strong = self.is_used = False


class Plan:
    """One run of all commands. `new_uuid`: makes one that nobody has had."""

    def __init__(self, rows: Rows, options: Options, new_uuid: Callable[[], str]) -> None:
        self.rows = rows
        self.schema = rows.schema
        self.options = options
        self.new_uuid = new_uuid
        self.symbols: dict[str, Symbol] = {}
        self.outputs: list[Output] = []
        self.interfaces: list[Row] = []
        """Those that bridge and port commands have made: the daemon may find faults with them."""
        self._switch: Switch | None = None

    def begin(self) -> None:
        """Forget what was done so far."""
        self.rows.begin()
        self.symbols = {}
        self.outputs = []
        self.interfaces = []
        self._switch = None

    @property
    def log(self) -> Log:
        """Where messages go."""
        return self.options.log

    @property
    def out(self) -> Output:
        """That of the command that runs."""
        return self.outputs[-1]

    @property
    def switch(self) -> Switch:
        """Bridges, ports and interfaces by name, as they are now."""
        if self._switch is None or self._switch.writes != self.rows.writes:
            from vswitch.cli.vsctl.bridges import Switch

            self._switch = Switch(self)
        return self._switch

    def symbol(self, name: str) -> Symbol:
        """The one of this name."""
        found = self.symbols.get(name)
        if found is None:
            found = self.symbols[name] = Symbol(self.new_uuid())
        return found

    def resolve(self, name: str, base: Base) -> str:
        """The UUID of the row that is called so; `base`: of the column that is to hold it."""
        found = self.symbol(name)
        found.is_used = True
        found.is_strong = found.is_strong or (bool(base.ref_table) and not base.is_weak)
        return found.uuid

    def define(self, name: str | None, *, is_new: bool) -> Symbol:
        """The symbol of `--id`. CommandError: it is none, or is defined already."""
        if not name or name[0] != "@":
            raise CommandError(f'row id "{name}" does not begin with "@"')
        symbol = self.symbol(name)
        check(not symbol.is_defined, f'row id "{name}" may only be specified on one --id option')
        symbol.is_defined = True
        symbol.is_new = is_new
        return symbol

    def check_symbols(self) -> None:
        """CommandError: one was used that nobody has defined. What will go at once is said."""
        for name, symbol in self.symbols.items():
            if not symbol.is_defined:
                how = f'(e.g. with "-- --id={name} create ...")'
                raise CommandError(f'row id "{name}" is referenced but never created {how}')
            if symbol.is_new and not symbol.is_strong:
                what = (
                    "only a weak reference to it was inserted" if symbol.is_used else "no reference to it was inserted"
                )
                self.log.warning(
                    "vsctl",
                    f'row id "{name}" was created but {what}, so it will not actually appear in the database',
                )


def text_of(call: Call) -> str:
    """As it could have been written, in quotes."""
    return f'"{call.text}"'
