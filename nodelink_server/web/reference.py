"""The description of the interface as one page of HTML: every operation, its parameters, its answers, a curl line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from nodelink_server.web.openapi import Json, operations, resolved

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.2; }
h2 { border-bottom: 1px solid var(--line); margin-top: 3rem; }
h3 { font-size: 1.05rem; margin: 2.5rem 0 0.5rem; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.875em; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: 0.75rem; overflow-x: auto;
      overflow-wrap: normal; }
table { border-collapse: collapse; width: 100%; margin: 0.75rem 0; }
td, th { border-bottom: 1px solid var(--line); padding: 0.35rem 0.75rem 0.35rem 0; text-align: left;
         vertical-align: top; }
nav ul { list-style: none; padding: 0; columns: 18rem; }
nav li { padding: 0.25rem 0; break-inside: avoid; }
.method { display: inline-block; min-width: 3.2rem; font-weight: 700; }
details { margin: 0.5rem 0; }
summary { cursor: pointer; padding: 0.25rem 0; }
"""

_CODE = re.compile(r"`([^`]+)`")


def reference_page(document: Mapping[str, Any], base_url: str) -> str:
    """The page. `base_url` is what the curl lines begin with."""
    about = document["info"]
    title = f"{about['title']} {about['version']}"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            f"<h1>{escape(title)}</h1>",
            *(f"<p>{_prose(part)}</p>" for part in about["description"].split("\n\n")),
            '<p>For programs: <a href="/openapi.json">/openapi.json</a>.</p>',
            *_contents(document),
            *_sections(document, base_url),
            "</body>\n</html>\n",
        ]
    )


def _contents(document: Mapping[str, Any]) -> Iterator[str]:
    yield "<nav><ul>"
    for method, path, operation in operations(document):
        name = escape(operation["operationId"])
        yield f'<li><a href="#{name}">{_call(method, path)}</a><br>{_prose(operation["summary"])}</li>'
    yield "</ul></nav>"


def _sections(document: Mapping[str, Any], base_url: str) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2>\n<p>{_prose(tag['description'])}</p>"
        for method, path, operation in operations(document):
            if tag["name"] in operation.get("tags", ()):
                answers = {status: resolved(document, one) for status, one in operation["responses"].items()}
                yield from _operation(method, path, {**operation, "responses": answers}, base_url)


def _operation(method: str, path: str, operation: Json, base_url: str) -> Iterator[str]:
    name = escape(operation["operationId"])
    yield f'<section id="{name}">\n<h3><a href="#{name}">{_call(method, path)}</a></h3>'
    yield f"<p>{_prose(operation['description'])}</p>"
    yield from _parameters(operation.get("parameters", ()))
    yield f"<pre>{escape(curl_line(method, path, operation, base_url))}</pre>"
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
    return f'<code><span class="method">{method.upper()}</span> {escape(path)}</code>'


def _prose(text: str) -> str:
    """Plain text in which `this` is code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))
