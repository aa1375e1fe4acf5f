"""The page at ``/docs``: the API for people, made of its OpenAPI description. One file, no script, no other host."""

from __future__ import annotations

import hashlib
import json
import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI, Request, Response

from openkith.service.envelope import CONTENT_POLICY

__all__ = ["install_reference"]

METHODS = ("get", "post", "put", "patch", "delete")
DEPTH = 6  # of an example
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; color: #1b1b1f;
  background: #fff }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem; text-transform: capitalize }
details { border: 1px solid #c9c9d1; border-radius: 6px; margin: .5rem 0; padding: .5rem .75rem }
summary { cursor: pointer } summary code { font-weight: 600 }
.get { color: #0b5c9e } .post { color: #1a6e2e } .put, .patch { color: #7a4f00 } .delete { color: #a11 }
pre { background: #f3f3f6; padding: .75rem; overflow-x: auto; border-radius: 4px }
table { border-collapse: collapse } td, th { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top }
.scroll { overflow-x: auto }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6ea; background: #17171a } pre { background: #26262b } details { border-color: #45454d }
  a { color: #8cc4ff } .get { color: #7cc0ff } .post { color: #7fd895 } .put, .patch { color: #f0c060 }
  .delete { color: #ff9a9a } }
"""
STREAM = """<h2 id="stream">Live stream</h2>
<p>A WebSocket at <code>/v1/stream</code>. The first message is text; audio follows as binary messages of any length.
</p><pre>&gt; {"format": "pcm16", "sample_rate": 16000, "key": "kith_..."}     or "webm", "ogg", "mp4"
&lt; {"type": "ready"}
&gt; (audio)
&lt; {"type": "start", "utterance": 1, "start": 0.6, "end": 0.9, "early": false, "decision": null}
&lt; {"type": "update", "utterance": 1, "start": 0.6, "end": 2.1, "early": true, "decision": {"name": "Alice", ...}}
&lt; {"type": "final", "utterance": 1, "start": 0.6, "end": 3.4, "early": false, "decision": {"id": 8, ...}}
&gt; {"type": "stop"}
&lt; {"type": "end"}                        a problem: {"type": "error", "problem": {...}}, and the socket is closed
</pre>"""


def install_reference(app: FastAPI) -> None:
    """Serve the page at ``/docs``."""
    policy = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    headers = {
        "Content-Security-Policy": CONTENT_POLICY.replace(
            "style-src 'self'", f"style-src 'self' 'sha256-{policy}'"
        )
    }

    made: dict[str, str] = {}  # the page for the address that it was asked by last

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        """The page."""
        base = str(request.base_url).rstrip("/")
        if base not in made:
            made.clear()
            made[base] = render(app.openapi(), base)
        return Response(made[base], media_type="text/html; charset=utf-8", headers=headers)


def render(api: Mapping[str, Any], base: str) -> str:
    """The page as HTML.

    Args:
        api: An OpenAPI description.
        base: URL of the daemon, for the examples.
    """
    groups: dict[str, list[str]] = {}
    for path, operations in api["paths"].items():
        for method in METHODS:
            if method in operations:
                operation = operations[method]
                group = (operation.get("tags") or ["other"])[0]
                groups.setdefault(group, []).append(_operation(api, base, path, method, operation))
    links = [f'<a href="#{escape(group)}">{escape(group)}</a>' for group in groups]
    parts = [f'<h2 id="{escape(name)}">{escape(name)}</h2>{"".join(found)}' for name, found in groups.items()]
    info = api["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info.get('description', ''))}</p>"
        f'<p><a href="/openapi.json">openapi.json</a> · {" · ".join(links)} · <a href="#stream">live stream</a></p>'
        f"{''.join(parts)}{STREAM}</main></body></html>"
    )


def _operation(
    api: Mapping[str, Any], base: str, path: str, method: str, operation: Mapping[str, Any]
) -> str:
    said = operation.get("description") or operation.get("summary", "")
    rows = [
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}</td>"
        f"<td>{escape(_type(api, p.get('schema', {})))}{', needed' if p.get('required') else ''}</td>"
        f"<td>{escape(p.get('description', ''))}</td></tr>"
        for p in operation.get("parameters", [])
    ]
    table = (
        '<div class="scroll"><table><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>'
        f"{''.join(rows)}</table></div>"
        if rows
        else ""
    )
    answers = "".join(
        f"<li><code>{escape(status)}</code> {escape(answer.get('description', ''))}"
        f"{_json_example(api, answer) if status.startswith('2') else ''}</li>"
        for status, answer in operation.get("responses", {}).items()
    )
    return (
        f'<details><summary><code><span class="{method}">{method.upper()}</span> {escape(path)}</code> '
        f"{escape(said.partition(chr(10))[0])}</summary><p>{escape(said)}</p>{table}"
        f"<pre>{escape(_curl(api, base, path, method, operation))}</pre><ul>{answers}</ul></details>"
    )


def _curl(api: Mapping[str, Any], base: str, path: str, method: str, operation: Mapping[str, Any]) -> str:
    words = ["curl"]
    if method != "get":
        words += ["-X", method.upper()]
    needed = [p for p in operation.get("parameters", []) if p["in"] == "query" and p.get("required")]
    query = "&".join(f"{p['name']}=3" for p in needed)
    words.append(base + path.replace("{", "").replace("}", "") + (f"?{query}" if query else ""))
    if operation.get("security"):
        words += ["-H", "Authorization: Bearer kith_..."]
    content = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        (field,) = content["multipart/form-data"]["schema"]["properties"]
        words += ["-F", f"{field}=@clip.wav"]
    elif "application/json" in content:
        example = _example(api, content["application/json"]["schema"])
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(example, ensure_ascii=False)]
    return shlex.join(words)


def _json_example(api: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    schema = answer.get("content", {}).get("application/json", {}).get("schema")
    if not schema:
        return ""
    text = json.dumps(_example(api, schema), indent=2, ensure_ascii=False)
    return f"<pre>{escape(text)}</pre>"


def _resolved(api: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = api["components"]["schemas"][name] if name else schema
    return found


def _choices(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from schema.get("anyOf", schema.get("allOf", []))


def _type(api: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    schema = _resolved(api, schema)
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    kinds = [_type(api, choice) for choice in _choices(schema)]
    return " | ".join(kinds) if kinds else str(schema.get("format") or schema.get("type", "any"))


def _example(api: Mapping[str, Any], schema: Mapping[str, Any], depth: int = DEPTH) -> Any:
    """A value that fits a schema: its example, or its default, or the plainest one."""
    schema = _resolved(api, schema)
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for choice in _choices(schema):
        return _example(api, choice, depth)
    kind = schema.get("type")
    if kind == "object":
        fields = schema.get("properties", {}) if depth else {}
        return {name: _example(api, part, depth - 1) for name, part in fields.items()}
    if kind == "array":
        items = schema.get("items") or next(iter(schema.get("prefixItems", [])), None)
        return [_example(api, items, depth - 1)] if items and depth else []
    formats = {"date-time": "2026-03-01T18:30:00Z", "date": "2026-03-01"}
    plainest = {"string": formats.get(schema.get("format", ""), "..."), "integer": 1, "number": 0.5}
    return {**plainest, "boolean": False}.get(str(kind))
