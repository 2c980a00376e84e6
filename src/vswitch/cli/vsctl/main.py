"""The program: where it begins, and what becomes of errors. What the line says is done by `run`.

Invariant: the server is asked for its schema before anything is loaded that is not needed to ask, as it takes as long
to say it as the rest takes to load.
"""

from __future__ import annotations

import posix
import sys

from vswitch.cli.vsctl import CommandError, StatusError
from vswitch.cli.vsctl.client import connect
from vswitch.cli.vsctl.options import parse_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from vswitch.cli.vsctl.options import Call, Options

__all__ = ["main", "start"]

NOBODY_READS, INTERRUPTED = 141, 130


def start(name: str, line: Sequence[str]) -> NoReturn:
    """Do what the line says and end the process, without what an interpreter clears up at its end. `name`: that of the
    program; if it is ours the line begins with `vsctl`."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        from vswitch.cli.main import open_what_is_closed

        open_what_is_closed()
    program = name
    if name != "ovs-vsctl":
        program, line = f"{name} vsctl", line[1:]
    try:
        status = main(line, program)
        sys.stderr.flush()
    except BrokenPipeError:
        status = NOBODY_READS
    except KeyboardInterrupt:
        status = INTERRUPTED
    except OSError as error:
        sys.stderr.write(f"{program}: {error.filename or 'output'}: {error.strerror}\n")
        sys.stderr.flush()
        status = 1
    posix._exit(status)


def main(line: Sequence[str], program: str = "ovs-vsctl") -> int:
    """Do what the line says; the exit status."""
    try:
        try:
            return _run(list(line), program)
        except CommandError as problem:
            sys.stdout.flush()
            sys.stderr.write(f"{program}: {problem}\n")
            return 1
        except StatusError as end:
            return end.status
    finally:
        sys.stdout.flush()


def _run(line: list[str], program: str) -> int:
    for word in line:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise CommandError(f"{word!a}: invalid UTF-8 sequence") from None
    options, calls = parse_line(line, program)
    if options.ends:
        from vswitch.cli.vsctl.help import text

        sys.stdout.write(text(options.ends, program))
        return 0
    if options.timeout_s:
        _limit(options)
    try:
        _ask(options, calls, " ".join([program, *line]))
    finally:
        if options.timeout_s:
            _unlimit()
    return 0


def _ask(options: Options, calls: list[Call], called: str) -> None:
    changes = any(call.command.changes for call in calls)
    if options.is_logging or (changes and options.syslog):
        options.log.called(called, changes=changes and options.syslog)
    with connect(options) as client:
        request = client.ask("get_schema", ["Open_vSwitch"])
        from vswitch.cli.vsctl.run import Runner
        from vswitch.cli.vsctl.schema import Schema

        Runner(options, calls, client, called).run(Schema(client.result(request)))


def _limit(options: Options) -> None:
    """End after some time, by the signal that tells of it."""
    import _signal  # type: ignore[import-not-found] # `signal` loads slowly

    def late(number: int, _: object) -> None:
        sys.stdout.flush()
        options.log.warning("fatal_signal", f"terminating with signal {int(number)} (Alarm clock)")
        sys.stderr.flush()
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
        posix.kill(posix.getpid(), _signal.SIGALRM)

    _signal.signal(_signal.SIGALRM, late)
    _signal.alarm(options.timeout_s)


def _unlimit() -> None:
    """It has ended in time, and the process may go on."""
    import _signal

    _signal.alarm(0)
    _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
