#!/usr/bin/env python3
"""Makes the running stack match prefect.yaml and stack.yaml; --help shows what else it does.

Runs under any Python and needs nothing set up: it hands over to the stack's own environment, and
finds there the stack's address and login.
"""

import os
import sys

# The oldest ways to say this: a Python that is too old must get as far as the message about it.
HERE = os.path.dirname(os.path.abspath(__file__))
ARGV = ["sh", os.path.join(HERE, "python"), "-m", "scripts.bootstrap_by_hand", *sys.argv[1:]]

if __name__ == "__main__":
    os.execvp("sh", ARGV)
