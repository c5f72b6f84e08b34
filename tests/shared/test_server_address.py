"""Where the server is, for whoever was not told."""

from __future__ import annotations

import json
from pathlib import Path

from nodelink.server_address import DEFAULT_SERVER, find_server


def test_the_environment_comes_first_then_the_local_server_then_the_default(tmp_path: Path) -> None:
    path = tmp_path / "addresses.json"
    assert find_server({}, path=path) == DEFAULT_SERVER
    path.write_text(json.dumps({"grpc": "127.0.0.1:7", "http": "http://127.0.0.1:8"}))

    assert find_server({}, path=path) == "127.0.0.1:7"
    assert find_server({"NODELINK_SERVER": " there:9 "}, path=path) == "there:9"
    assert find_server({"NODELINK_SERVER": ""}, path=path) == "127.0.0.1:7"
