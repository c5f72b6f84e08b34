"""The `nodelink` command."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # before grpc is loaded: else it writes into our output

from nodelink.cli.app import execute


def main() -> None:
    """Run the command line, and exit with its code."""
    sys.exit(execute())


if __name__ == "__main__":
    main()
