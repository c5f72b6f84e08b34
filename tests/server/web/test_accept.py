"""Which form a caller would rather have."""

from __future__ import annotations

import pytest

from nodelink_server.web.accept import preferred

FORMS = ["text/plain", "application/x-ndjson", "text/event-stream"]


@pytest.mark.parametrize(
    "accept, form",
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/*", "text/plain"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("Text/Event-Stream; charset=utf-8", "text/event-stream"),
        ("application/*", "application/x-ndjson"),
        ("application/x-ndjson, text/plain", "application/x-ndjson"),
        ("text/plain;q=0.5, application/x-ndjson", "application/x-ndjson"),
        ("text/plain; q=0.5, application/x-ndjson; q=0.4, */*; q=0.1", "text/plain"),
        ("text/plain;q=0, */*", "application/x-ndjson"),
        ("*/*, text/plain;q=0.1, application/x-ndjson;q=0.2", "text/event-stream"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "text/plain"),
        ("nonsense, text/event-stream", "text/event-stream"),
        ("text/plain;q=many, application/x-ndjson", "application/x-ndjson"),
        ("image/png", None),
        ("text/plain;q=0", None),
        ("*/*;q=0", None),
        ("nonsense", None),
        ("*/plain", None),
    ],
)
def test_the_best_liked_form_is_chosen(accept: str, form: str | None) -> None:
    assert preferred(accept, FORMS) == form
