"""Applications of os-ken, as the controllers of tests: `python -m tests.osken PORT MODULE` runs one.

os-ken 4 brings no program that does so, and no applications but those that its other modules need. Those of os-ken 1.4
run on it as they are; `scripts/setup` puts them into a folder, and here it becomes a part of `os_ken.app`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab import is_listening, patience, wait_until

__all__ = ["HAS_APPLICATIONS", "HAS_OSKEN", "Application", "ask", "knows", "told"]

ROOT = Path(__file__).parents[1]
OLD = ROOT / ".venv/osken"
APPLICATIONS = OLD / "os_ken/app"
HAS_OSKEN = importlib.util.find_spec("os_ken") is not None
HAS_APPLICATIONS = HAS_OSKEN and APPLICATIONS.is_dir()


class Application:
    """One that runs, in the namespace of the thread, and listens at a port of loopback."""

    def __init__(self, module: str, port: int = 6653, **variables: str) -> None:
        environment = {
            **os.environ,
            "OSKEN_HUB_TYPE": "eventlet",
            **variables,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        }
        self.target = f"tcp:127.0.0.1:{port}"
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-W", "ignore", "-m", __name__, str(port), module],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        wait_until(lambda: is_listening(port) or self.process.poll() is not None, f"{module} listens", 30)
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        """Its complaints, when it has ended."""
        self.process.kill()
        return self.process.communicate(timeout=20 * patience())[1]

    def __enter__(self) -> Application:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        said = self.said()
        if kind is None:
            assert "Traceback" not in said, said


REST = "http://127.0.0.1:8080"


def ask(method: str, path: str, body: object = None) -> Any:
    """What the application's web server answers; OSError: nothing."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{REST}{path}", data=data, method=method)
    with urllib.request.urlopen(request, timeout=20 * patience()) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def knows(datapath: int) -> bool:
    """Whether ofctl_rest knows this switch, and no other."""
    try:
        return bool(ask("GET", "/stats/switches") == [datapath])
    except OSError:
        return False


def told(what: str, datapath: int) -> Any:
    """What ofctl_rest tells of a switch. It waits one second for the switch's answer, then tells nothing."""
    found: list[Any] = []

    def has_answer() -> bool:
        found[:] = ask("GET", f"/stats/{what}/{datapath}")[str(datapath)]
        return bool(found)

    wait_until(has_answer, f"{what} of the switch", 20)
    return found


def main() -> None:
    from os_ken.lib import hub

    hub.patch(thread=False)
    import eventlet.wsgi
    import os_ken.app
    from os_ken import cfg
    from os_ken.base.app_manager import AppManager
    from os_ken.controller import controller  # noqa: F401 - it has the options

    sys.path.append(str(OLD))  # last: what they import besides, but os-ken itself is the new one
    os_ken.app.__path__.append(str(APPLICATIONS))
    if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):
        eventlet.wsgi.ALREADY_HANDLED = object()  # gone since; only web sockets need it
    port, module = sys.argv[1:]
    manager = AppManager.get_instance()
    manager.load_apps([module, "os_ken.controller.ofp_handler"])
    cfg.CONF(["--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", port], project="os_ken")
    threads = manager.instantiate_apps(**manager.create_contexts())
    wsgi = sys.modules.get("os_ken.app.wsgi")
    server = wsgi.start_service(manager) if wsgi else None
    hub.joinall([*threads, *([hub.spawn(server)] if server else [])])


if __name__ == "__main__":
    main()
