"""One run of the fuzzer itself: python -m tests.fuzz.guided TARGET [options of libFuzzer]. Needs atheris."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

import structlog

INSTRUMENTED = ["nodelink", "nodelink_agent", "nodelink_server", "tests.fuzz", "json"]


def main() -> None:
    """Run until the options say that it is enough, or an input fails."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], targets[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
