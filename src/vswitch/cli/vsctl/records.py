"""Commands on records of any table: list, find, get, set, add, remove, clear, create, destroy, wait-until.

A record is named by its UUID, by the first four or more digits of it, by `.` if it is alone, or by what `_NAMES` says
for its table.
"""

from __future__ import annotations

from vswitch.cli.vsctl import CommandError, RetryError, check
from vswitch.cli.vsctl.conditions import Assignment, Condition, Selector
from vswitch.cli.vsctl.output import Sheet
from vswitch.cli.vsctl.schema import MANY, Column, Table, Type
from vswitch.cli.vsctl.values import atom_text, is_uuid, literal, parse, value_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from vswitch.cli.vsctl.options import Call
    from vswitch.cli.vsctl.plan import Plan, Watched
    from vswitch.cli.vsctl.rows import Row
    from vswitch.cli.vsctl.values import Value

__all__ = [
    "NAMES", "add", "clear", "create", "destroy", "find_records", "get", "list_records", "reads", "remove",
    "set_values", "wait_until",
]  # fmt: skip

NAMES: dict[str, tuple[str, str, str]] = {
    "AutoAttach": ("Bridge", "name", "auto_attach"),
    "Bridge": ("Bridge", "name", ""),
    "Controller": ("Bridge", "name", "controller"),
    "Flow_Sample_Collector_Set": ("Flow_Sample_Collector_Set", "id", ""),
    "Flow_Table": ("Flow_Table", "name", ""),
    "IPFIX": ("Bridge", "name", "ipfix"),
    "Interface": ("Interface", "name", ""),
    "Manager": ("Manager", "target", ""),
    "Mirror": ("Mirror", "name", ""),
    "NetFlow": ("Bridge", "name", "netflow"),
    "Port": ("Port", "name", ""),
    "QoS": ("Port", "name", "qos"),
    "sFlow": ("Bridge", "name", "sflow"),
}
"""How records of a table are named: by a column of a table, and from there by a column that refers to them."""

_MIN_DIGITS = 4
_DIGITS = frozenset("0123456789abcdefABCDEF-")


def reads(watched: Watched, call: Call) -> None:
    """Watch what the words of a command need. CommandError: there is no such table or column."""
    table = watched.schema.table(call.words[0])
    name, words = call.command.name, call.words[1:]
    if name != "create":
        _watch_names(watched, table)
    elif "--id" not in call.options and not table.is_root:
        what = f'applying "create" command to table {table.name} without --id option will have no effect'
        watched.options.log.warning("db_ctl_base", what)
    watched.watch(table.name)
    if name in ("list", "find"):
        columns = _listed(table, call)
        watched.watch(table.name, *(column.name for column in columns))
        words = words if name == "find" else []
        parts: Iterable[Any] = [Condition(table, word) for word in words]
    elif name == "wait-until":
        parts = [Condition(table, word) for word in words[1:]]
    elif name == "get":
        _check_get(call)
        parts = [Selector(table, word) for word in words[1:]]
    elif name == "set":
        parts = [Assignment(table, word) for word in words[1:]]
    elif name in ("add", "remove", "clear"):
        names = words[1:2] if name != "clear" else words[1:]
        watched.watch(table.name, *(table.column(word).name for word in names))
        return
    else:
        return
    for part in parts:
        watched.watch(table.name, part.column.name)


def _watch_names(watched: Watched, table: Table) -> None:
    by = NAMES.get(table.name)
    if by is not None:
        watched.watch(by[0], by[1], by[2])
    elif table.has("name"):
        watched.watch(table.name, "name")


def _check_get(call: Call) -> None:
    if "--if-exists" in call.options and "--id" in call.options:
        raise CommandError("--if-exists and --id may not be specified together")


def _writable(table: Table, column: Column) -> Column:
    check(column.is_mutable, f"cannot modify read-only column {column.name} in table {table.name}")
    return column


def _listed(table: Table, call: Call) -> list[Column]:
    """The columns of `--columns`, or all."""
    given = call.options.get("--columns")
    if given is None:
        return [table["_uuid"], *(table[name] for name in table.names)]
    names = [name for name in given.replace(",", " ").split(" ") if name]
    check(names, "must specify at least one column name")
    return [table.column(name) for name in names]


# ---- which record


def _record(plan: Plan, table: Table, word: str, *, must_exist: bool = True) -> Row | None:
    """The one that is named so. CommandError: there is none, though there must be, or more than one."""
    found = _find(plan, table, word)
    if found is None and must_exist:
        raise CommandError(f'no row "{word}" in table {table.name}')
    return found


def _find(plan: Plan, table: Table, word: str) -> Row | None:
    rows = plan.rows
    if is_uuid(word):
        return rows.find(table.name, word.lower())
    if word == "." and len(alone := rows.of(table.name)) == 1:
        return alone[0]
    by = NAMES.get(table.name)
    if by is None and table.has("name"):
        by = (table.name, "name", "")
    if by is not None and (found := _by_name(plan, table, word, by)) is not None:
        return found
    if len(word) >= _MIN_DIGITS and _DIGITS.issuperset(word):
        short = word.lower()
        close = [row for row in rows.of(table.name) if row.uuid.startswith(short)]
        if len(close) > 1:
            what = f"{table.name} contains 2 or more rows whose UUIDs begin with {word}"
            raise CommandError(f"{what}: at least {close[1].uuid} and {close[0].uuid}")
        return close[0] if close else None
    return None


def _by_name(plan: Plan, table: Table, word: str, by: tuple[str, str, str]) -> Row | None:
    holder, column, reference = by
    kind = plan.schema[holder][column].type.key.kind
    if kind == "integer":
        if not word.isdigit():
            return None
        wanted: Any = int(word)
    else:
        wanted = word
    found = [row for row in plan.rows.of(holder) if row[column] == (wanted,)]
    if not found and kind == "string" and word[:1] == '"':
        found = [row for row in plan.rows.of(holder) if row[column] == (literal(word),)]
    if len(found) > 1:
        raise CommandError(f'multiple rows in {holder} match "{word}"')
    if not found or not reference:
        return found[0] if found else None
    uuids = found[0][reference]
    return plan.rows.find(table.name, uuids[0]) if len(uuids) == 1 else None


# ---- asking


def list_records(plan: Plan, call: Call) -> None:
    """`list`."""
    table = plan.schema.table(call.words[0])
    sheet = Sheet(_listed(table, call), plan.options)
    words = call.words[1:]
    if words:
        must_exist = "--if-exists" not in call.options
        found = [_record(plan, table, word, must_exist=must_exist) for word in words]
        rows = [row for row in found if row is not None]
    else:
        rows = plan.rows.of(table.name)
    _show(plan, sheet, table, call, rows)


def find_records(plan: Plan, call: Call) -> None:
    """`find`."""
    table = plan.schema.table(call.words[0])
    conditions = [Condition(table, word) for word in call.words[1:]]
    rows = [
        row for row in plan.rows.of(table.name) if all(condition.holds(row, plan.resolve) for condition in conditions)
    ]
    _show(plan, Sheet(_listed(table, call), plan.options), table, call, rows)


def _show(plan: Plan, sheet: Sheet, table: Table, call: Call, rows: list[Row]) -> None:
    names = [column.name for column in _listed(table, call)]
    sheet.rows = [[row[name] for name in names] for row in rows]
    plan.out.sheet = sheet


def get(plan: Plan, call: Call) -> None:
    """`get`."""
    table = plan.schema.table(call.words[0])
    must_exist = "--if-exists" not in call.options
    row = _record(plan, table, call.words[1], must_exist=must_exist)
    if "--id" in call.options:
        name = call.options["--id"]
        known = plan.symbols.get(name or "")
        if known is not None and known.is_used and not known.is_defined:
            raise CommandError(f'row id "{name}" specified on "get" command was used before it was defined')
        symbol = plan.define(name, is_new=False)
        assert row is not None
        symbol.uuid = row.uuid
    if row is None:
        return
    for word in call.words[2:]:
        selector = Selector(table, word)
        selector.complete()
        column, kind = selector.column, selector.column.type
        value = row[column.name]
        plan.rows.verify(row, *([column.name] if column.name != "_uuid" else []))
        if not selector.has_key:
            plan.out.line(value_text(kind, value))
            continue
        key = selector.key(plan.resolve)
        pairs = dict(value)
        assert kind.value is not None
        if key in pairs:
            plan.out.line(atom_text(pairs[key], kind.value.kind))
        elif must_exist:
            what = f'{table.name} record "{call.words[1]}" column {column.name}'
            raise CommandError(f'no key "{selector.key_text}" in {what}')
        else:
            plan.out.line("")


def wait_until(plan: Plan, call: Call) -> None:
    """`wait-until`. RetryError: not yet."""
    table = plan.schema.table(call.words[0])
    row = _record(plan, table, call.words[1], must_exist=False)
    if row is None:
        raise RetryError
    for word in call.words[2:]:
        if not Condition(table, word).holds(row, plan.resolve):
            raise RetryError


# ---- changing


def _to_change(plan: Plan, call: Call) -> tuple[Table, Row | None]:
    table = plan.schema.table(call.words[0])
    return table, _record(plan, table, call.words[1], must_exist="--if-exists" not in call.options)


def assign(plan: Plan, row: Row, word: str) -> None:
    """Do what `COLUMN[:KEY]=VALUE` says."""
    given = Assignment(row.table, word)
    given.complete()
    if not row.is_new:
        _writable(row.table, given.column)
    value = given.value(plan.resolve)
    if given.has_key:
        plan.rows.put(row, given.column.name, value)
    else:
        plan.rows.write(row, given.column.name, value)


def set_values(plan: Plan, call: Call) -> None:
    """`set`."""
    _, row = _to_change(plan, call)
    if row is not None:
        for word in call.words[2:]:
            assign(plan, row, word)


def add(plan: Plan, call: Call) -> None:
    """`add`."""
    table, row = _to_change(plan, call)
    if row is None:
        return
    column = _writable(table, table.column(call.words[2]))
    kind = column.type
    if kind.low == kind.high and kind.value is None:
        what = f"cannot be applied to column {column.name} of table {table.name}, which holds one {kind}"
        raise CommandError(f'"add" operation {what}')
    added: dict[Any, Any] = {}
    for word in call.words[3:]:
        for element in parse(kind.sized(1, MANY), word, plan.resolve):
            key, value = element if kind.value is not None else (element, None)
            added.setdefault(key, value)
    if kind.value is None:
        plan.rows.put(row, column.name, tuple(added))
        return
    known = dict(row[column.name])
    # as the manual says, what is there stays; as ovs-vsctl 3.1 does, it is replaced
    plan.rows.put(row, column.name, tuple((known | added).items()))


def remove(plan: Plan, call: Call) -> None:
    """`remove`."""
    table, row = _to_change(plan, call)
    if row is None:
        return
    column = _writable(table, table.column(call.words[2]))
    kind = column.type
    value = row[column.name]
    gone: set[Any] = set()
    for word in call.words[3:]:
        gone.update(_matching(kind, value, word, plan))
    if len(value) - len(gone) < kind.low:
        what = f"would put {len(value) - len(gone)} values in column {column.name} of table {table.name}"
        raise CommandError(f'"remove" operation {what} but the minimum number is {kind.low}')
    plan.rows.take(row, column.name, tuple(gone))


def _matching(kind: Type, value: Value, word: str, plan: Plan) -> Iterable[Any]:
    """The elements that a word names: themselves, or pairs by their keys."""
    if kind.value is None:
        wanted = set(parse(kind.sized(1, MANY), word, plan.resolve))
        return [each for each in value if each in wanted]
    try:
        pairs = parse(kind.sized(1, MANY), word, plan.resolve)
    except CommandError:
        keys = set(parse(Type(kind.key, None, 1, MANY), word, plan.resolve))
        return [pair for pair in value if pair[0] in keys]
    return [pair for pair in value if pair in pairs]


def clear(plan: Plan, call: Call) -> None:
    """`clear`."""
    table, row = _to_change(plan, call)
    if row is None:
        return
    for word in call.words[2:]:
        column = _writable(table, table.column(word))
        if column.type.low:
            what = f"cannot be applied to column {column.name} of table {table.name}, which is not allowed to be empty"
            raise CommandError(f'"clear" operation {what}')
        plan.rows.write(row, column.name, ())


def create(plan: Plan, call: Call) -> None:
    """`create`."""
    table = plan.schema.table(call.words[0])
    given = call.options.get("--id")
    if given is not None and is_uuid(given):
        row = plan.rows.insert(table.name, given.lower(), named=True)
    elif given is not None:
        row = plan.rows.insert(table.name, plan.define(given, is_new=not table.is_root).uuid)
    else:
        row = plan.rows.insert(table.name)
    for word in call.words[1:]:
        assign(plan, row, word)
    plan.out.row = row


def destroy(plan: Plan, call: Call) -> None:
    """`destroy`."""
    table = plan.schema.table(call.words[0])
    words, must_exist = call.words[1:], "--if-exists" not in call.options
    if "--all" in call.options:
        check(not words, "--all and records argument should not be specified together")
        check(must_exist, "--all and --if-exists should not be specified together")
        for row in plan.rows.of(table.name):
            plan.rows.delete(row)
        return
    if not words:
        plan.log.warning("db_ctl_base", "either --all or records argument should be specified")
    for word in words:
        found = _record(plan, table, word, must_exist=must_exist)
        if found is not None:
            plan.rows.delete(found)
