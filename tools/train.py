#!/usr/bin/env python
"""Trains an OpenMMLab config: plain, from a ticket (``ticket``), or to find tickets (``imp``)."""

import sys

from lth_core.openmmlab.launch import train_main

if __name__ == "__main__":
    sys.exit(train_main())
