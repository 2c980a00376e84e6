"""Commands on a connection: ask for what they need, run them, do what follows in one transaction, wait, print.

All run on one snapshot. If the transaction finds that somebody has changed what they were decided by, they run again on
a new one; none of their output is seen before the transaction is done.
"""

from __future__ import annotations

import sys

from vswitch.cli.vsctl import CommandError, RetryError, TransactionError
from vswitch.cli.vsctl.client import Client, new_uuid
from vswitch.cli.vsctl.options import Call, Options
from vswitch.cli.vsctl.plan import Output, Plan, Watched
from vswitch.cli.vsctl.rows import ROOT, Rows, done
from vswitch.cli.vsctl.schema import Schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["DATABASE", "MAX_RUNS", "Runner"]

DATABASE = "Open_vSwitch"
MAX_RUNS = 1000
"""Runs in vain, as others were faster, before it gives up: each of them was a change that others have made."""


class Runner:
    """Of the commands of a line. `called`: how the program was called."""

    def __init__(self, options: Options, calls: list[Call], client: Client, called: str) -> None:
        self._options = options
        self._calls = calls
        self._client = client
        self._called = called
        self._monitors = 0
        self._seen: Any = None
        """What was there when it began to watch."""

    def run(self, schema: Schema) -> None:
        """All of it."""
        request = self._request(schema)
        plan = Plan(Rows(schema, new_uuid), self._options, new_uuid)
        self._watch(plan.rows, request)
        functions = [_function(call) for call in self._calls]
        for _ in range(MAX_RUNS):
            try:
                plan.begin()
                self._commands(plan, functions)
            except RetryError:
                self._client.wait()
                self._apply(plan.rows)
                continue
            try:
                self._commit(plan)
            except RetryError:
                self._watch(plan.rows, request)
                continue
            except TransactionError:
                seen = self._seen
                self._watch(plan.rows, request)
                if self._seen == seen:
                    raise
                continue  # it may well be right on what is there now, or wrong for a reason that can be told
            return
        raise CommandError(f"others have changed the database {MAX_RUNS} times before this could be done")

    def _request(self, schema: Schema) -> Any:
        """What is to be watched."""
        watched = Watched(schema, self._options)
        for call in self._calls:
            if call.command.reads is not None:
                for table, columns in call.command.reads.items():
                    watched.watch(table, *columns)
            elif call.command.is_of_records:
                from vswitch.cli.vsctl.records import reads

                reads(watched, call)
        if self._options.wait:
            watched.watch(ROOT, "cur_cfg")
        return watched.request()

    def _watch(self, rows: Rows, request: Any) -> None:
        """Hold what there is now, and hear of what comes."""
        if self._monitors:
            self._client.call("monitor_cancel", [self._monitors])
        self._monitors += 1
        found = self._client.call("monitor", [DATABASE, self._monitors, request])
        self._client.updates.clear()
        self._seen = found
        rows.load(found)

    def _apply(self, rows: Rows) -> None:
        for name, update in self._client.updates:
            if name == self._monitors:
                rows.update(update)
        self._client.updates.clear()

    def _commands(self, plan: Plan, functions: list[Callable[[Plan, Call], None]]) -> None:
        plan.rows.root()
        for call, function in zip(self._calls, functions, strict=True):
            plan.outputs.append(Output())
            function(plan, call)
        plan.check_symbols()

    def _commit(self, plan: Plan) -> None:
        operations, places = plan.rows.operations()
        next_cfg = 0
        if operations:
            root = plan.rows.root()
            waits = self._options.wait and not self._options.dry_run
            if self._options.wait:
                operations += _increment(root.uuid, root.is_new)
            operations.append({"op": "comment", "comment": f"ovs-vsctl: {self._called}"})
            if self._options.dry_run:
                operations.append({"op": "abort"})
            results = self._client.call("transact", [DATABASE, *operations])
            if self._options.dry_run:
                results = [each for each in results if (each or {}).get("error") != "aborted"]
                done(results, results)
            else:
                done(results, operations)
                for row in list(plan.rows.inserted()):
                    row.uuid = results[places[row.uuid]]["uuid"][1] if row.uuid in places else row.uuid
                if waits:
                    next_cfg = results[-2]["rows"][0]["next_cfg"]
        self._print(plan)
        if next_cfg:
            self._wait(plan, next_cfg)

    def _print(self, plan: Plan) -> None:
        pieces = []
        has_sheet = False
        for output in plan.outputs:
            if output.row is not None:
                output.line(output.row.uuid)
            if output.sheet is not None:
                if has_sheet:
                    pieces.append("\n")
                pieces.append(output.sheet.render())
                has_sheet = True
            elif self._options.oneline:
                from vswitch.cli.vsctl.output import on_one_line

                pieces.append(on_one_line(output.text))
            else:
                pieces.append(output.text)
        sys.stdout.write("".join(pieces))
        sys.stdout.flush()

    def _wait(self, plan: Plan, next_cfg: int) -> None:
        """Until the daemon has done it; say what it could not do."""
        made = [row.uuid for row in plan.interfaces if not row.is_gone]
        self._apply(plan.rows)
        while not any(root["cur_cfg"] and root["cur_cfg"][0] >= next_cfg for root in plan.rows.of(ROOT)):
            self._client.wait()
            self._apply(plan.rows)
        failed = False
        for uuid in made:
            row = plan.rows.find("Interface", uuid)
            if row is None or (row["ofport"] and row["ofport"][0] >= 0):
                continue
            error = f": {row.one('error')}" if row["error"] else ""
            what = f"Error detected while setting up '{row.one('name')}'{error}"
            sys.stderr.write(f"ovs-vsctl: {what}.  See ovs-vswitchd log for details.\n")
            failed = True
        if failed:
            sys.stderr.write(f'ovs-vsctl: The default log directory is "{self._options.log_directory}".\n')


def _function(call: Call) -> Callable[[Plan, Call], None]:
    module, _, function = call.command.run.partition(":")
    name = f"vswitch.cli.vsctl.{module}"
    found: Callable[[Plan, Call], None] = getattr(__import__(name, fromlist=[function]), function)
    return found


def _increment(uuid: str, is_new: bool) -> list[Any]:
    reference = ["named-uuid", "row" + uuid.replace("-", "_")] if is_new else ["uuid", uuid]
    where = [["_uuid", "==", reference]]
    return [
        {"op": "mutate", "table": ROOT, "where": where, "mutations": [["next_cfg", "+=", 1]]},
        {"op": "select", "table": ROOT, "where": where, "columns": ["next_cfg"]},
    ]
