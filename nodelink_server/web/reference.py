"""The description of the interface as one page of HTML: every operation, its parameters, its answers, a curl line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from nodelink_server.web.openapi import Json, operations, resolved
from nodelink_server.web.reference_style import STYLE

PREFIX = "/api/v1"
"""What nearly every path begins with; the contents leave it out."""

_CODE = re.compile(r"`([^`]+)`")


def reference_page(document: Mapping[str, Any], base_url: str) -> str:
    """The page. `base_url` is what the curl lines begin with."""
    about = document["info"]
    name, version = escape(about["title"]), escape(about["version"])
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{name} {version}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            f"<header>\n<h1>{name} <small>{version}</small></h1>",
            *(f"<p>{_prose(part)}</p>" for part in about["description"].split("\n\n")),
            '<p>For programs: <a href="/openapi.json">/openapi.json</a>.</p>\n</header>',
            *_contents(document),
            *_sections(document, base_url),
            "</body>\n</html>\n",
        ]
    )


def _by_tag(document: Mapping[str, Any]) -> Iterator[tuple[Json, list[tuple[str, str, Json]]]]:
    """Every tag with its operations: method, path, what is said about it."""
    for tag in document["tags"]:
        yield tag, [one for one in operations(document) if tag["name"] in one[2].get("tags", ())]


def _contents(document: Mapping[str, Any]) -> Iterator[str]:
    yield '<nav aria-label="contents">'
    for tag, chosen in _by_tag(document):
        yield f"<h2>{escape(tag['name'])}</h2>\n<ul>"
        for method, path, operation in chosen:
            about, shown = escape(operation["summary"]), _call(method, path.removeprefix(PREFIX))
            yield f'<li><a href="#{escape(operation["operationId"])}" title="{about}">{shown}</a></li>'
        yield "</ul>"
    yield "</nav>"


def _sections(document: Mapping[str, Any], base_url: str) -> Iterator[str]:
    yield "<main>"
    for tag, chosen in _by_tag(document):
        yield f"<h2>{escape(tag['name'])}</h2>\n<p>{_prose(tag['description'])}</p>"
        for method, path, operation in chosen:
            answers = {status: resolved(document, one) for status, one in operation["responses"].items()}
            yield from _operation(method, path, {**operation, "responses": answers}, base_url)
    yield "</main>"


def _operation(method: str, path: str, operation: Json, base_url: str) -> Iterator[str]:
    name = escape(operation["operationId"])
    yield f'<section id="{name}">\n<h3><a href="#{name}">{_call(method, path)}</a></h3>'
    yield from (f"<p>{_prose(part)}</p>" for part in operation["description"].split("\n\n"))
    yield from _parameters(operation.get("parameters", ()))
    yield f'<pre class="curl">{escape(curl_line(method, path, operation, base_url))}</pre>'
    yield from _answers(operation["responses"])
    yield "</section>"


def _parameters(parameters: Any) -> Iterator[str]:
    if not parameters:
        return
    yield "<table><tr><th>parameter</th><th>in</th><th>means</th></tr>"
    for parameter in parameters:
        about = parameter.get("description") or parameter["schema"].get("description", "")
        needed = " (required)" if parameter.get("required") else ""
        yield f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{parameter['in']}{needed}</td>"
        yield f"<td>{_prose(about)}</td></tr>"
    yield "</table>"


def _answers(responses: Mapping[str, Any]) -> Iterator[str]:
    """Successes with their examples, refusals by their codes alone."""
    for status, answer in responses.items():
        if status[0] == "2":
            yield f"<details><summary><code>{status}</code> {_prose(answer['description'])}</summary>"
            yield from _examples(answer.get("content", {}))
            yield "</details>"
    yield "<details><summary>refusals</summary>\n<table>"
    for status, answer in responses.items():
        if status[0] != "2":
            yield f"<tr><td><code>{status}</code></td><td>{_prose(answer['description'])}</td></tr>"
    yield "</table></details>"


def _examples(content: Mapping[str, Any]) -> Iterator[str]:
    for media_type, form in content.items():
        example = form.get("example")
        text = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
        yield f"<p><code>{escape(media_type)}</code></p>\n<pre>{escape(text)}</pre>"


def curl_line(method: str, path: str, operation: Mapping[str, Any], base_url: str) -> str:
    """How the operation is called from a shell, with the example of its body."""
    examples = {one["name"]: one["example"] for one in operation.get("parameters", ()) if one["in"] == "path"}
    words = ["curl", "-s" if "text/event-stream" not in _media_types(operation) else "-sN"]
    if method != "get":
        words += ["-X", method.upper()]
    words.append(base_url + path.format(**examples))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    if body is not None:
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(body, ensure_ascii=False)]
    return shlex.join(words)


def _media_types(operation: Mapping[str, Any]) -> set[str]:
    return set(operation["responses"].get("200", {}).get("content", {}))


def _call(method: str, path: str) -> str:
    return f'<code class="call"><span class="method {method}">{method.upper()}</span> {escape(path)}</code>'


def _prose(text: str) -> str:
    """Plain text in which `this` is code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))
