#!/usr/bin/env python3
"""Makes the server of the running stack match prefect.yaml and stack.yaml; see --help for options.

Any Python can run it, and nothing has to be installed or set. It continues in the stack's own
environment as `scripts.bootstrap_by_hand`, which finds the stack's address and login.
"""

import os
import sys

# Written so that even a very old Python gets as far as the message about its version.
HERE = os.path.dirname(os.path.abspath(__file__))
ARGV = ["sh", os.path.join(HERE, "python"), "-m", "scripts.bootstrap_by_hand", *sys.argv[1:]]

if __name__ == "__main__":
    os.execvp("sh", ARGV)
