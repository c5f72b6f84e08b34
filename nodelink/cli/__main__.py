"""The `nodelink` command."""

from __future__ import annotations

import os
import signal
import sys

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # before grpc is loaded: else it writes into our output
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where somebody has it ignored
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while we load, Ctrl-C ends us without a traceback

from nodelink.cli.app import execute


def main() -> None:
    """Run the command line, and exit with its code."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(execute())


if __name__ == "__main__":
    main()
