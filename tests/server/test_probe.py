"""The server's probe: what it makes of the answers that it gets, and of none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from nodelink_server.probe import main, readiness_problem


@contextmanager
def answering(status: int, body: bytes, data_dir: Path) -> Iterator[None]:
    """Something that gives one answer to everything, where the server of a directory should be."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert (self.path, self.headers["Host"]) == ("/readyz", "localhost")
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        answerer = threading.Thread(target=server.serve_forever)
        answerer.start()
        (data_dir / "addresses.json").write_text(json.dumps({"http": f"http://127.0.0.1:{server.server_port}"}))
        try:
            yield
        finally:
            server.shutdown()
            answerer.join()


def test_a_ready_server_has_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200, b"{}", tmp_path):
        assert readiness_problem(tmp_path) == ""
        assert main(["--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "body,reason",
    [(b'{"detail": "the server is stopping"}', "the server is stopping"), (b"not json", "Service Unavailable")],
)
def test_why_a_server_is_not_ready_is_passed_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: bytes, reason: str
) -> None:
    with answering(503, body, tmp_path):
        assert main(["--data-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"the server is not ready (503): {reason}\n"


def test_where_nobody_listens_there_is_no_answer(tmp_path: Path) -> None:
    with answering(200, b"{}", tmp_path):
        pass
    assert "does not answer" in readiness_problem(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"http": 5}', '{"http": "http://127.0.0.1:x"}', '{"http": ""}'])
def test_addresses_that_are_damaged_are_a_problem(tmp_path: Path, content: str) -> None:
    (tmp_path / "addresses.json").write_text(content)
    assert readiness_problem(tmp_path) != ""


def test_a_setting_that_is_not_right_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--grpc-address", "nowhere"]) == 78
    assert "grpc_address" in capsys.readouterr().err
