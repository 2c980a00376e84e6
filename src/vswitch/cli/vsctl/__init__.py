"""`vswitch vsctl`: the configuration in the database `Open_vSwitch`, asked and changed as ovs-vsctl does.

Words become commands (`options`, `table`), commands read and write rows of a snapshot (`rows`) and so make operations
and text (`records`, `conditions`, `bridges`, `ports`, `settings`, `zones`, `show`); `main` runs them as one transaction
over a connection (`client`), again whenever somebody else was faster, and waits for the daemon to have done it.

Invariant: nothing in this package, but for what is rarely needed, imports modules that load slowly: scripts call this
command hundreds of times, and an interpreter that starts and asks takes no longer than twice what ovs-vsctl takes. So
values and schemas have leaner classes here than in `vswitch.ovsdb`, whose job is to doubt everything; what is sent is
checked there, by the server.
"""

from __future__ import annotations

__all__ = ["CommandError", "RetryError", "StatusError", "TransactionError", "check"]


class CommandError(Exception):
    """It cannot be done; the text says why. Nothing was changed."""


class TransactionError(CommandError):
    """The server has refused what commands make of a snapshot, which may be old by now."""


class RetryError(Exception):
    """The snapshot is not as it has to be: run all commands once more when something has changed."""


class StatusError(Exception):
    """The answer is an exit status alone."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def check(holds: object, text: str) -> None:
    """CommandError: it does not hold."""
    if not holds:
        raise CommandError(text)
