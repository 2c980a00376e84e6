"""Where the files of a machine's switch are: sockets, the database, the log.

Folders come from the environment, by the names that Open vSwitch's tools know (OVS_RUNDIR, OVS_DBDIR, OVS_LOGDIR), else
they are vswitch's own. The daemon may have another name in them (VSWITCH_DAEMON), as where tools look for
`ovs-vswitchd`. Invariant: no other module says where the daemon's files are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["DAEMON", "RUN_FOLDER", "Places"]

DAEMON = "vswitchd"
"""What the pid file, the control socket and the log of the daemon are called after."""

RUN_FOLDER = "/run/vswitch"
_DATABASE_FOLDER = "/var/lib/vswitch"
_LOG_FOLDER = "/var/log/vswitch"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders, and what lies in them."""

    run: str = RUN_FOLDER
    database_folder: str = _DATABASE_FOLDER
    log_folder: str = _LOG_FOLDER
    daemon: str = DAEMON

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Places:
        """As the environment says; what is empty there says nothing."""
        return cls(
            environment.get("OVS_RUNDIR") or RUN_FOLDER,
            environment.get("OVS_DBDIR") or _DATABASE_FOLDER,
            environment.get("OVS_LOGDIR") or _LOG_FOLDER,
            environment.get("VSWITCH_DAEMON") or DAEMON,
        )

    @property
    def database(self) -> str:
        return f"{self.database_folder}/conf.db"

    @property
    def socket(self) -> str:
        """Where the database is served."""
        return f"{self.run}/db.sock"

    @property
    def pid_file(self) -> str:
        return f"{self.run}/{self.daemon}.pid"

    @property
    def log(self) -> str:
        return f"{self.log_folder}/{self.daemon}.log"

    def management(self, bridge: str) -> str:
        """Where `ovs-ofctl` finds a bridge."""
        return f"{self.run}/{bridge}.mgmt"
