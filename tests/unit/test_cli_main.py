"""The command line from outside: exit status, one sentence for each error, help at every level, no slow start."""

from __future__ import annotations

import importlib
import io
import shlex
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import vswitch
from vswitch.base.errors import BusyError
from vswitch.cli.arguments import Command, Group, Node, Program, UsageError
from vswitch.cli.dpctl import meters
from vswitch.cli.main import main
from vswitch.cli.table import VSWITCH

ROOT = Path(__file__).parents[2]


def nodes(node: Node = VSWITCH, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    yield path, node
    if isinstance(node, Group):
        for command in node.commands:
            yield from nodes(command, (*path, command.name))


NODES = [pytest.param(path, node, id=" ".join(path) or "vswitch") for path, node in nodes()]
OWN_NODES = [param for param in NODES if param.values[0] != ("demo",)]  # its module answers for itself


def python(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(ROOT / "src")})


@pytest.mark.parametrize(("path", "node"), OWN_NODES)
def test_help_at_every_level_has_an_example(
    path: tuple[str, ...], node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, "--help"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: {' '.join(('vswitch', *path))}")
    assert "\nexample:\n  " in output
    assert not isinstance(node, Group) or all(command.summary in output for command in node.commands)


@pytest.mark.parametrize(("path", "node"), OWN_NODES)
def test_examples_are_of_the_command_and_parse(
    path: tuple[str, ...], node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(node, Command):
        return
    ran: list[object] = []
    module, _, function = node.run.partition(":")
    monkeypatch.setattr(importlib.import_module(module), function, ran.append)
    words = shlex.split(node.example)
    assert words[0] == "vswitch"
    assert [word for word in words if word in path] == list(path)  # options may stand between the names
    assert main(words[1:]) == 0
    assert len(ran) == 1


@pytest.mark.parametrize(("path", "node"), NODES)
def test_summary_is_no_sentence_and_fits(path: tuple[str, ...], node: Node) -> None:
    assert 0 < len(node.summary) <= 80
    assert not node.summary.endswith(".")


def test_help_loads_neither_the_datapath_nor_what_it_stands_on() -> None:
    # the sizes of a datapath are the datapath's to tell
    lines = [[*path, "--help"] for path, _ in nodes() if path not in (("demo",), ("dpctl", "add-dp"))]
    result = python(
        "import sys\n"
        "from vswitch.cli.main import main\n"
        f"assert not any(main(line) for line in {lines!r})\n"
        "slow = {'asyncio', 'pyroute2', 'rich', 'vswitch.api', 'vswitch.datapath.ebpf.flows'}\n"
        "print(sorted(slow & set(sys.modules)), file=sys.stderr)\n"
    )
    assert result.stderr == "[]\n"


def test_help_of_vswitch_loads_nothing_of_the_switch() -> None:
    result = python(
        "import sys\n"
        "from vswitch.cli.main import main\n"
        "main(['--help'])\n"
        "print(sorted(m for m in sys.modules if m.startswith('vswitch.')), file=sys.stderr)\n"
    )
    loaded = set(result.stderr.strip("[]\n").replace("'", "").split(", "))
    assert all(module.startswith(("vswitch.base", "vswitch.cli")) for module in loaded), loaded


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vswitch {vswitch.__version__}\n"


def test_python_m_vswitch_is_vswitch() -> None:
    command = [sys.executable, "-m", "vswitch", "dpctl", "frob"]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(ROOT / "src")}, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "vswitch: dpctl: there is no command 'frob' (see vswitch dpctl --help)\n"


WRONG_LINES = [
    ("", "a command is needed (see vswitch --help)"),
    ("--nope", "(see vswitch --help)"),
    ("dpctI", "there is no command 'dpctI', did you mean 'dpctl'? (see vswitch --help)"),
    ("dpctl", "dpctl: a command is needed (see vswitch dpctl --help)"),
    ("dpctl add-flw", "dpctl: there is no command 'add-flw', did you mean 'add-flow'?"),
    ("dpctl --nope show", "dpctl: "),
    ("dpctl add-dp", "dpctl add-dp: the following arguments are required: DP"),
    ("dpctl add-dp dp0 --max-flow 3", "dpctl add-dp: unrecognized arguments: --max-flow"),
    ("dpctl add-dp dp0 --max-flows many", "argument --max-flows: invalid int value: 'many'"),
    ("dpctl add-dp dp0 veth1,mtu=3", "'mtu=3' is none of port_no=N, type="),
    ("dpctl del-dp a b", "dpctl del-dp: unrecognized arguments: b"),
    ("dpctl add-if dp0 veth1,port_no=one", "veth1,port_no=one: port_no 'one' is not a number"),
    ("dpctl add-if dp0 veth1,type=patch", "type 'patch' is none of system, internal, tap"),
    ("dpctl add-if dp0 veth1,peer_redirect=yes", "peer_redirect 'yes' is neither true nor false"),
    ("dpctl add-if dp0 veth1,type=tap,type=tap", "veth1,type=tap,type=tap: type is given twice"),
    ("dpctl add-flow", "dpctl add-flow: the following arguments are required: FLOW, ACTIONS"),
    ("dpctl del-flow", "dpctl del-flow: the following arguments are required: FLOW"),
    ("dpctl add-dp dp0 --json", "unrecognized arguments: --json"),
    ("dpctl monitor dp0 -c 0", "dpctl monitor: count 0 is not above 0"),
    ("dpctl monitor dp0 --timeout -1", "dpctl monitor: "),
    ("dpctl execute dp0 xyz 2", "dpctl execute: packet 'xyz' is not hexadecimal"),
    ("dpctl execute dp0 00 2 1 --in-port 1", "dpctl execute: the input port is given twice"),
    ("dpctl add-meter dp0 id=1", "dpctl add-meter: rate=N is missing"),
    ("dpctl add-meter dp0 rate=1", "dpctl add-meter: id=N is missing"),
    ("dpctl add-meter dp0 id=1 rate=fast", "rate 'fast' is not a number"),
    ("dpctl add-meter dp0 id=1 rate=1 rate=2", "rate is given twice"),
    ("dpctl add-meter dp0 id=1 rate=1 color=red", "'color=red' is none of id=N"),
    ("completion tcsh", "completion: argument SHELL: invalid choice: 'tcsh'"),
]


@pytest.mark.parametrize(("line", "part"), WRONG_LINES, ids=[line for line, _ in WRONG_LINES])
def test_wrong_line_gets_one_sentence_and_status_2(line: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vswitch: ")
    assert captured.err.count("\n") == 1
    assert part in captured.err


ENDINGS = [
    (BusyError("datapath dp0 is controlled by another process (pid 7)"), 1,
     "vswitch: datapath dp0 is controlled by another process (pid 7)\n"),
    (UsageError("the words do not fit"), 2,
     "vswitch: dpctl dump-meters: the words do not fit (see vswitch dpctl dump-meters --help)\n"),
    (FileNotFoundError(2, "No such file or directory", "flows.txt"), 1,
     "vswitch: flows.txt: No such file or directory\n"),
    (OSError(28, "No space left on device"), 1, "vswitch: output: No space left on device\n"),
    (KeyboardInterrupt(), 130, ""),
    (BrokenPipeError(32, "Broken pipe"), 141, ""),
]  # fmt: skip


@pytest.mark.parametrize(("error", "status", "sentence"), ENDINGS, ids=[type(row[0]).__name__ for row in ENDINGS])
def test_every_ending_has_its_status_and_no_traceback(
    error: BaseException,
    status: int,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_arguments: object) -> None:
        raise error

    monkeypatch.setattr(meters, "dump_meters", fail)
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # whose descriptor is not given up
    assert main(["dpctl", "dump-meters"]) == status
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("--help >&-", 1, "vswitch: output: Bad file descriptor\n"),
        ("dpctl show --help >&-", 1, "vswitch: output: Bad file descriptor\n"),
        ("completion bash >&- <&-", 1, "vswitch: output: Bad file descriptor\n"),
        ("dpctl frob >&-", 2, "vswitch: dpctl: there is no command 'frob' (see vswitch dpctl --help)\n"),
        ("dpctl frob 2>&-", 2, ""),
        ("--help >&- 2>&-", 1, ""),
    ],
)
def test_a_closed_stream_has_no_traceback(words: str, status: int, said: str) -> None:
    result = subprocess.run(
        ["sh", "-c", f"{sys.executable} -W error -m vswitch {words}"],
        capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(ROOT / "src")}, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (status, "", said)


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_arguments: object) -> None:
        raise AssertionError("ours")

    monkeypatch.setattr(meters, "dump_meters", fail)
    with pytest.raises(AssertionError, match="ours"):
        main(["dpctl", "dump-meters"])


def test_demo_gets_the_rest_of_the_line_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []

    def demo_main(line: list[str]) -> int:
        lines.append(line)
        return 3

    demo = ModuleType("vswitch.cli.demo")
    demo.main = demo_main  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vswitch.cli.demo", demo)
    assert main(["demo", "--fast", "x", "--help"]) == 3
    assert lines == [["--fast", "x", "--help"]]


@pytest.mark.parametrize(("path", "node"), NODES)
def test_every_row_names_something_to_run(path: tuple[str, ...], node: Node) -> None:
    if isinstance(node, Command):
        module, _, function = node.run.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
    if isinstance(node, Program) and node.name != "demo":
        assert callable(importlib.import_module(node.module).main)


@pytest.mark.parametrize(
    ("line", "more", "names", "statistics"),
    [
        ("dpctl show dp0", False, None, False),
        ("dpctl -m show dp0", True, None, False),
        ("dpctl show dp0 -m", True, None, False),
        ("dpctl -s show", False, None, True),
        ("dpctl show -s", False, None, True),
        ("dpctl --names show", False, True, False),
        ("dpctl --names show --no-names", False, False, False),
        ("dpctl --more --no-names --statistics dump-dps --names", True, True, True),
    ],
)
def test_common_options_stand_before_the_command_or_behind(
    line: str, more: bool, names: bool | None, statistics: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vswitch.cli.dpctl import datapaths

    seen: list[Namespace] = []
    monkeypatch.setattr(datapaths, "show", seen.append)
    monkeypatch.setattr(datapaths, "dump_dps", seen.append)
    assert main(line.split()) == 0
    (arguments,) = seen
    assert (arguments.more, arguments.names, arguments.statistics) == (more, names, statistics)


def test_every_size_of_a_datapath_has_an_option_that_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import fields

    from vswitch import Options

    assert main(["dpctl", "add-dp", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    for each in fields(Options):
        assert f"--{each.name.replace('_', '-')} N " in words
        assert f"--{each.name.replace('_', '-')} N (default" not in words
