"""`nodelink-agent`: hears a wish to stop from its first moment on, and only then loads the rest; see `start`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nodelink_agent.early_stop import EarlyStop


def main(argv: Sequence[str] | None = None) -> int:
    """Run an agent until it is told to stop. Returns the exit code."""
    early = EarlyStop()
    early.listen()
    from nodelink_agent.start import start  # noqa: PLC0415 - it takes its time, and a stop would be a death by signal

    return start(sys.argv[1:] if argv is None else argv, early)


if __name__ == "__main__":
    sys.exit(main())
