"""Faucet, the controller, with a configuration of a test's; `scripts/faucet` installs it, where there is a network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType

from tests.lab import is_listening, patience, wait_until

__all__ = ["Faucet"]

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "build/faucet/bin/faucet"
"""It starts os-ken by its name, so PATH names this folder."""
START_S = 40.0
"""It loads much before it listens."""


class Faucet:
    """One that runs, in the namespace of the thread, and listens for switches at a port of loopback."""

    def __init__(self, folder: Path, configuration: str, port: int = 6653) -> None:
        assert PROGRAM.exists(), "Faucet is not installed (scripts/faucet)"
        self.target = f"tcp:127.0.0.1:{port}"
        self._log, self._errors = folder / "faucet.log", folder / "faucet.errors"
        self._configuration = folder / "faucet.yaml"
        self._configuration.write_text(configuration)
        environment = {
            **os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
            "FAUCET_CONFIG": str(self._configuration), "FAUCET_LOG": str(self._log),
            "FAUCET_EXCEPTION_LOG": str(folder / "exceptions.log"), "FAUCET_PROMETHEUS_ADDR": "127.0.0.1",
            "FAUCET_CONFIG_STAT_RELOAD": "1", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        command = [str(PROGRAM), "--ryu-ofp-listen-host=127.0.0.1", f"--ryu-ofp-tcp-listen-port={port}"]
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=environment, cwd=folder
            )
        try:
            wait_until(lambda: is_listening(port) or self.process.poll() is not None, "Faucet listens", START_S)
            assert self.process.poll() is None, self.said()
        except BaseException:
            self.close()
            raise

    def configure(self, text: str) -> None:
        """Give it another configuration, which it loads by itself."""
        self._configuration.write_text(text)

    def said(self) -> str:
        """Its log, and what it complained about."""
        return "".join(path.read_text() for path in (self._log, self._errors) if path.exists())

    def close(self) -> None:
        self.process.kill()
        self.process.wait(20 * patience())

    def __enter__(self) -> Faucet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        said = self.said()
        if kind is None:
            assert "Traceback" not in said, said
            assert "OFPErrorMsg" not in said, said
