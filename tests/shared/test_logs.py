"""What services log: facts, and tracebacks that tell no secrets."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FAIL = """
import structlog
from nodelink.logs import configure_logs

def fail(token):
    raise RuntimeError("broken")

configure_logs({form!r})
log = structlog.get_logger()
try:
    fail("s3cr3t-value".upper())
except RuntimeError as error:
    log.error("it_failed", task_id="t1", exc_info=error)
"""


def logged(form: str) -> str:
    """What a process logs of an error, one local variable of which is a secret."""
    done = subprocess.run([sys.executable, "-c", FAIL.format(form=form)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_where_it_was_and_no_values(form: str) -> None:
    text = logged(form)
    assert "RuntimeError" in text
    assert "broken" in text
    assert "it_failed" in text
    assert "S3CR3T-VALUE" not in text


def test_json_logs_are_one_object_a_line() -> None:
    lines = logged("json").splitlines()
    assert [json.loads(line)["task_id"] for line in lines] == ["t1"]
