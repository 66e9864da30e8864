#!/usr/bin/env python
"""Trains an OpenMMLab config: plain, from a ticket (``ticket``), or to find tickets (``imp``)."""

import sys

from lth_core.cli import tool

if __name__ == "__main__":
    sys.exit(tool("train"))
