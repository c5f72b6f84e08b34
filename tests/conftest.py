"""What holds for every test: which ones need more than Python, what was left out, and where log lines go."""

from __future__ import annotations

import logging
import signal
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import structlog

NEEDS: Mapping[str, str] = {
    "ansible": "ansible-core, in a place of its own",
    "buf": "the buf command",
    "containers": "podman, from Debian",
    "faketime": "libfaketime, from Debian",
    "prometheus": "prometheus and promtool, from Debian",
    "go": "Go and its gRPC libraries, from Debian",
    "node": "Node.js and npm packages",
    "shells": "zsh and fish, from Debian",
    "strace": "strace, from Debian",
    "terraform": "terraform, which no package registry has",
    "tmpfs": "mounting a small file system, as root on Linux",
    "valgrind": "valgrind, from Debian",
}
"""A test with one of these marks needs more than Python: it runs only with --all, and then a missing tool fails it."""

LEFT_OUT = pytest.StashKey[defaultdict[str, list[str]]]()
UNSELECTED = "not selected"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also run the tests that need more than Python")


def pytest_configure(config: pytest.Config) -> None:
    # A run in the background of a script has it ignored, and would hand that on to every command that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    left_out: defaultdict[str, list[str]] = defaultdict(list)
    config.stash[LEFT_OUT] = left_out
    for marker, need in NEEDS.items():
        config.addinivalue_line("markers", f"{marker}: needs {need}")
    config.addinivalue_line("markers", "slow: takes seconds; -m 'not slow' leaves it out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    needy = [item for item in items if _need(item)]
    if needy:
        items[:] = [item for item in items if not _need(item)]
        config.hook.pytest_deselected(items=needy)


def pytest_deselected(items: Iterable[pytest.Item]) -> None:
    for item in items:
        item.config.stash[LEFT_OUT][_need(item) or UNSELECTED].append(item.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Under xdist every worker process collects all tests and tells the controller what it left out.
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        left_out = session.config.stash[LEFT_OUT]
        output["left_out"] = dict(left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    left_out = getattr(node, "workeroutput", {}).get("left_out", {})
    node.config.stash[LEFT_OUT].update(left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for need, names in config.stash[LEFT_OUT].items():
        if need == UNSELECTED:
            terminalreporter.write_line(f"not selected: {len(names)}")
            continue
        terminalreporter.section(f"left out: {len(names)}, need {NEEDS[need]} (scripts/test --all)")
        for name in names:
            terminalreporter.write_line(name)


@pytest.fixture(autouse=True)
def log_lines_go_to_the_report() -> None:
    """Log lines are shown with a test that fails, and with no other."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _need(item: pytest.Item) -> str | None:
    return next((marker for marker in NEEDS if item.get_closest_marker(marker)), None)
