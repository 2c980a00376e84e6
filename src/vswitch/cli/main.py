"""`vswitch`: where the command line begins, and what becomes of errors.

    0    done
    1    it could not be done; one sentence on the standard error says why
    2    the command line is wrong
    130  interrupted (Ctrl-C)
    141  nobody reads the output any more, as of a program that SIGPIPE ended

Invariant: a VswitchError, an interrupt or a closed pipe never shows a traceback; any other exception is our own fault
and does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from vswitch.base.errors import VswitchError

__all__ = ["main", "open_what_is_closed"]

FAILED, INTERRUPTED, NOBODY_READS = 1, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    open_what_is_closed()
    try:
        try:
            status = _run(sys.argv[1:] if argv is None else argv)
        except SystemExit as end:  # argparse: after --help, and when the line is wrong
            status = end.code if isinstance(end.code, int) else FAILED
        sys.stdout.flush()
    except VswitchError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return NOBODY_READS
    except OSError as error:
        if error.filename is None:
            _forget_output()
        return _fail(f"{error.filename or 'output'}: {error.strerror}")
    return status


def _run(line: Sequence[str]) -> int:
    if line[:1] == ["vsctl"]:  # scripts call it hundreds of times: it waits for none of the other commands' tables
        from vswitch.cli.vsctl.main import main as vsctl

        return vsctl(line[1:], "vswitch vsctl")
    from vswitch.cli.arguments import run
    from vswitch.cli.table import VSWITCH

    return run(VSWITCH, line)


def open_what_is_closed() -> None:
    """Python has None for a standard stream that is closed, as by `>&-`. Writing to such an output is an error, as of
    any program; what is to be said on such a standard error is not said. The descriptors are taken, so that nothing
    else gets their numbers."""
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        closed = os.open(os.devnull, os.O_RDONLY)
        sys.stdout = os.fdopen(closed, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        sys.stderr = os.fdopen(nowhere, "w", encoding="utf-8", closefd=False)


def _fail(sentence: str) -> int:
    print(f"vswitch: {sentence}", file=sys.stderr)
    return FAILED


def _forget_output() -> None:
    """What is left in the buffer cannot be written; the interpreter shall not try again at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
