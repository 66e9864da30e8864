"""``lth`` itself, before any command."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lth_core as lth
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lth_core import exchange, matching
from lth_core.cli import main, match_double_win, output
from lth_core.cli import match as match_command
from lth_core.cli.exits import MEANINGS, Exit, guarded
from lth_core.cli.main import build_parser
from lth_core.cli.ticket_exchange import FORMATS
from lth_core.errors import LTHError

HEAVY = ("torch", "numpy", "scipy", "rich", "mmengine", "matplotlib", "jinja2", "shtab")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of all its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


COMMANDS = [each.prog for each in parsers(build_parser())]


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command line that is refused."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == Exit.USER_ERROR
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


# Help ---------------------------------------------------------------------------------------------


def test_help_of_every_command_waits_for_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from lth_core.cli import main\n"
        f"for command in {COMMANDS}:\n"
        "    try: main([*command.split()[1:], '--help'])\n"
        "    except SystemExit as left: assert left.code == 0\n"
        f"print(*[m for m in {HEAVY} if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("usage: lth") == len(COMMANDS) > 12
    assert done.stdout.splitlines()[-1] == ""


def test_help_lists_commands_and_exit_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for name in (command.split()[1] for command in COMMANDS if command != "lth"):
        assert len([line for line in lines if re.match(rf"  {name} +\w", line)]) == 1
    for code, text in MEANINGS.items():
        assert f"  {code:<4d} {text}" in lines
    assert max(map(len, lines)) <= 80


def test_every_argument_is_explained() -> None:
    for parser in parsers(build_parser()):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert len(action._get_subactions()) == len(action.choices)  # each has its line
                continue
            assert action.help, f"{parser.prog} {action.dest}"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"lth {lth.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["ticket"], ["weights"]])
def test_without_a_command_there_is_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == Exit.USER_ERROR
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("usage: ")


def test_what_is_offered_is_what_there_is() -> None:
    """Lists that parsers need before anything heavy is imported."""
    assert set(FORMATS) == set(exchange.FORMATS)
    assert match_command.ALPHA == matching.ALPHA
    assert match_double_win.ROBUST_METRIC == matching.ROBUST_METRIC


def test_the_page_names_every_command_and_exit_code() -> None:
    page = (Path(__file__).parents[2] / "docs/command-line.md").read_text()
    for parser in parsers(build_parser()):
        if parser.prog not in ("lth", "lth ticket", "lth weights"):
            json_too = "yes" if "--json" in parser._option_string_actions else ""
            assert re.search(rf"^\| `{parser.prog}` \|.*\| *{json_too} *\|$", page, re.M)
    for code, text in MEANINGS.items():
        assert f"| {code:d} | {text} |" in page


# Hints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tickets", "lth has no command 'tickets'; did you mean ticket? lth --help"),
        ("trian x.py", "did you mean train?"),
        ("ticket shw t", "lth ticket has no command 'shw'; did you mean show? lth ticket --help"),
        ("xyzzy", "lth has no command 'xyzzy': demo, train,"),
        ("train --wrok-dir x c.py", "there is no option --wrok-dir; did you mean --work-dir?"),
        ("train --wrok-dir", "there is no option --wrok-dir; did you mean --work-dir?"),
        ("train c.py --work_dir=x", "there is no option --work_dir; did you mean --work-dir?"),
        ("train c.py --work", "there is no option --work;"),
        ("train", "the following arguments are required: config; lth train --help"),
        ("train a.py b.py", "'b.py' is one argument too many"),
        ("train a.py --launcher slrum", "did you mean slurm?"),
        ("demo --jobs two", "argument --jobs: 'two' is not a whole number from 1 on"),
        ("demo --jobs 0", "argument --jobs: '0' is not a whole number from 1 on"),
        ("demo --stage dett", "argument --stage: 'dett' is none of pretrain,"),
        ("match r --alpha small", "argument --alpha: 'small' is not a number"),
        ("ticket compare", "the following arguments are required: files"),
        ("--versoin", "there is no option --versoin; did you mean --version? lth --help"),
        ("ticket show t\n--jsn", "there is no option --jsn; did you mean --json?"),
    ],
)
def test_hints(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in complaint(capsys, *line.split())


def test_a_missing_file_is_named_with_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for line in (
        "ticket show nowhere",
        "ticket compare nowhere nowhere",
        "ticket export nowhere --format dense -o x",
        "ticket variant nowhere even -o x",
        "ticket make nowhere --level 1 -o x",
        "ticket import nowhere -o x",
        "weights convert nowhere -o x",
        "match nowhere",
        "report nowhere",
        "train nowhere",
        "test nowhere nowhere",
    ):
        assert main(line.split()) == Exit.USER_ERROR
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert f"{tmp_path}/nowhere" in err, line
    assert list(tmp_path.iterdir()) == []


# Exit codes ---------------------------------------------------------------------------------------


def raising(problem: BaseException) -> object:
    raise problem


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (LTHError("two\nlines"), 2, "error: two\nerror: lines\n"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to go on\n"),
        (
            OSError(28, "No space left on device", "a/b"),
            2,
            "error: a/b cannot be written: No space left on device; put that right and run the",
        ),
        (OSError(36, "File name too long", "aaa"), 2, "error: aaa cannot be used: File name too"),
    ],
)
def test_what_ends_a_command(
    problem: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: raising(problem), "again") == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("problem", [ValueError("odd"), OSError(5, "Input/output error")])
def test_errors_of_lths_own_have_a_traceback(
    problem: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: raising(problem)) == Exit.UNEXPECTED
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert "please report it" in err.splitlines()[-1]


def test_one_of_many_processes_complains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert guarded(lambda: raising(LTHError("x"))) == Exit.USER_ERROR
    assert not capsys.readouterr().err


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    masks = {f"w{i}.weight": torch.ones(9, dtype=torch.bool) for i in range(3000)}
    lth.Ticket(lth.MaskSet(masks)).save(tmp_path / "t")
    process = subprocess.Popen(
        [sys.executable, "-m", "lth_core.cli", "ticket", "show", str(tmp_path / "t")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait() == Exit.UNEXPECTED


def test_interrupted_anywhere() -> None:
    script = (
        "import sys, time\n"
        "from lth_core import results\n"
        "from lth_core.cli import main\n"
        "results.read = lambda _: (print('at work', file=sys.stderr, flush=True), time.sleep(60))\n"
        "sys.exit(main(['match', 'x']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background has no ear for Ctrl-C, nor have its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", "interrupted\n")
    assert process.returncode == Exit.INTERRUPTED


# What is printed ----------------------------------------------------------------------------------


def test_plain_facts() -> None:
    spread = {
        "nan": math.nan,
        1: (np.float32(0.5), torch.tensor(3)),
        "p": Path("a/b"),
        "i": -np.inf,
    }
    assert output.plain(spread) == {"nan": None, "1": [0.5, 3], "p": "a/b", "i": None}
    assert json.loads(json.dumps(output.plain(lth.analysis.similarity_matrix([])))) == []


def test_stdout_is_kept_clean(capfd: pytest.CaptureFixture[str]) -> None:
    with output.stdout_kept_clean():
        print("a library")
        subprocess.run(["echo", "a child"], check=True)
    print("facts")
    out, err = capfd.readouterr()
    assert out == "facts\n"
    assert "a library" in err
    assert "a child" in err


# Anything -----------------------------------------------------------------------------------------

WORDS = sorted(
    {word for command in COMMANDS for word in command.split()[1:]} - {"demo", "train"}
    | {option for each in parsers(build_parser()) for option in each._option_string_actions}
    | {"t", "w.pth", "absent", "2:4", "like=t", "dense", "random", "complement", "-1", "nan", "1e9"}
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.sampled_from(WORDS), st.text(st.characters(exclude_characters="\0"))),
        max_size=7,
    )
)
def test_no_arguments_make_a_traceback(tmp_path: Path, arguments: list[str]) -> None:
    if {"demo", "train"} & set(arguments):
        return
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as left:
        code = left.code  # type: ignore[assignment]
    finally:
        os.chdir(before)
    assert code in (Exit.DONE, Exit.USER_ERROR)


@pytest.mark.parametrize("name", lth.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(lth, name).__name__.rpartition(".")[2] == name
    assert name in dir(lth)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'prine'"):
        lth.prine  # noqa: B018
