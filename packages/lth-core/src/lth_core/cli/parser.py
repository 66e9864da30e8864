"""Parsers of command lines: one line says what is wrong and what may have been meant."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from lth_core.cli.exits import Exit
from lth_core.spelling import likely


class Parser(argparse.ArgumentParser):
    """argparse's, without the usage before an error, with hints, and without abbreviations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs = {"formatter_class": Formatter, "allow_abbrev": False, **kwargs}
        super().__init__(*args, **kwargs)
        self._given: list[str] = []

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, but nothing may be left over; so a command tells of its own options."""
        self._given = list(sys.argv[1:] if args is None else args)
        known, rest = super().parse_known_args(self._given, namespace)
        if rest:
            self.error(self._unknown(rest) or f"{rest[0]!r} is one argument too many")
        return known, rest

    def error(self, message: str) -> NoReturn:
        """Prints what is wrong with the command line and exits with 2."""
        if message.startswith("the following arguments are required"):
            # A misspelt option is why they are missing, more often than not.
            message = self._unknown(self._given) or message
        message = " ".join(message.split())
        message += " " if message.endswith("?") else "; "
        self.exit(Exit.USER_ERROR, f"error: {message}{self.prog} --help tells what is possible\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        hint = did_you_mean(str(value), choices)
        if isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(
                None, f"{self.prog} has no command {value!r}{hint or ': ' + ', '.join(choices)}"
            )
        raise argparse.ArgumentError(action, f"{value!r} is none of {', '.join(choices)}{hint}")

    def _unknown(self, arguments: Iterable[str]) -> str | None:
        """What to say of the first of ``arguments`` that looks like an option and is none."""
        known = self._option_string_actions
        for argument in arguments:
            name = argument.partition("=")[0]
            if argument == "--":
                break
            if not name.startswith("-") or name == "-" or name in known:
                continue
            if self._negative_number_matcher.match(argument) or name[:2] in known:
                continue
            shown = [n for n, action in known.items() if action.help != argparse.SUPPRESS]
            return f"there is no option {name}{did_you_mean(name, shown)}"
        return None


class Formatter(argparse.HelpFormatter):
    """Keeps paragraphs apart and indented lines as they are; lists commands without a heading."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = textwrap.dedent(text).strip("\n").split("\n\n")
        return "\n\n".join(
            textwrap.indent(paragraph, indent)
            if paragraph.startswith("  ")
            else textwrap.fill(
                " ".join(paragraph.split()), width, initial_indent=indent, subsequent_indent=indent
            )
            for paragraph in paragraphs
        )

    def _format_action(self, action: argparse.Action) -> str:
        if isinstance(action, argparse._SubParsersAction):
            return "".join(map(self._format_action, action._get_subactions()))
        return super()._format_action(action)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``", did you mean 'x'?"`` for the one of ``known`` that is most like ``name``, or nothing."""
    guess = likely(name, known)
    return "" if guess is None else f"; did you mean {guess}?"


def add_commands(parser: argparse.ArgumentParser) -> Any:
    """Adds commands to a parser, which prints its help where none is given.

    Returns:
        What has ``add_parser``, for the commands to add theirs.
    """

    def without_any(_: argparse.Namespace) -> NoReturn:
        parser.print_help(sys.stderr)
        raise SystemExit(Exit.USER_ERROR)

    parser.set_defaults(run=without_any)
    return parser.add_subparsers(title="commands", metavar="COMMAND", prog=parser.prog)


def add_json(parser: argparse.ArgumentParser, text: str = "print the facts as JSON") -> None:
    """Adds ``--json``: then ``run`` returns the facts, and prints nothing, see :mod:`output`."""
    parser.add_argument("--json", action="store_true", help=text)


def whole(least: int = 0, below: int | None = None) -> Any:
    """A type of arguments: whole numbers from ``least`` on, below ``below`` if that is given."""

    def parse(text: str) -> int:
        digits = text.removeprefix("-")
        value = int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 99 else None
        if value is None or value < least or (below is not None and value >= below):
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {least} on"
                + ("" if below is None else f", below {below}")
            )
        return value

    return parse


def number(text: str) -> float:
    """A type of arguments: numbers."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
