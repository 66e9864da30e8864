"""A parser of command lines whose complaints are one line, as all of lth's are."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """argparse's, without the usage before an error: ``--help`` tells more."""

    def error(self, message: str) -> NoReturn:
        """Prints what is wrong with the command line and exits with 2."""
        self.exit(2, f"error: {message}; {self.prog} --help tells what is possible\n")
