"""`python -m nodelink_server.probe`: whether the server with these settings is ready, for health checks.

It finds the server by its data directory and asks `/readyz`. Exit codes: 0 ready, 1 not, with the reason in one line on
standard error, 78 a setting is not right.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path

from nodelink.address import Address, parse_address
from nodelink.settings import EX_CONFIG, SettingError
from nodelink_server.settings import read_server_settings

ANSWER_SECONDS = 4.0
LONGEST_ANSWER = 1 << 16


def main(argv: Sequence[str] | None = None) -> int:
    """Ask once. Returns the exit code."""
    try:
        settings = read_server_settings(sys.argv[1:] if argv is None else argv, os.environ)
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    problem = readiness_problem(settings.data_dir)
    if problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


def readiness_problem(data_dir: Path) -> str:
    """Why the server of a data directory cannot be used now. Empty: it can."""
    try:
        address = _http_address(data_dir / "addresses.json")
    except FileNotFoundError:
        return f"no server is ready on {data_dir}"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"the server's addresses in {data_dir} cannot be read: {error}"
    connection = HTTPConnection(address.host, address.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz", headers={"Host": "localhost"})  # a name that the server always knows
        return _objection(connection.getresponse())
    except (OSError, HTTPException) as error:
        return f"the server at {address} does not answer: {str(error) or type(error).__name__}"
    finally:
        connection.close()


def _http_address(path: Path) -> Address:
    """Where the server says that it listens."""
    return parse_address(str(json.loads(path.read_text(encoding="utf-8"))["http"]).removeprefix("http://"))


def _objection(answer: HTTPResponse) -> str:
    """What the server has against being used."""
    if answer.status == 200:
        return ""
    try:
        detail = json.loads(answer.read(LONGEST_ANSWER))["detail"]
    except (ValueError, TypeError, KeyError):
        detail = answer.reason
    return f"the server is not ready ({answer.status}): {detail}"


if __name__ == "__main__":
    sys.exit(main())
