"""`python -m nodelink_agent.probe`: whether the agent with these settings is linked to its server, for health checks.

Exit codes: 0 linked, 1 not, with the reason in one line on standard error, 78 a setting is not right.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from nodelink.settings import EX_CONFIG, SettingError
from nodelink_agent.settings import read_agent_settings
from nodelink_agent.status import status_problem


def main(argv: Sequence[str] | None = None) -> int:
    """Look once. Returns the exit code."""
    try:
        settings = read_agent_settings(sys.argv[1:] if argv is None else argv, os.environ)
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    problem = status_problem(settings.directory, now=time.time())
    if problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
