"""Take the facts out of an OpenAPI document: names, types, formats, enums, presence.

`python tests/contract/extract_facts.py DOCUMENT > tests/contract/facts/NAME.json`, where DOCUMENT is YAML,
bare or fenced in a Markdown page. Titles, descriptions, examples and everything else that is somebody's
writing stays behind.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

#: Keywords of a schema that say what a value may be, and whose own value is to be taken as it is.
_PLAIN: Final = ("$ref", "type", "format", "enum", "nullable", "required")


def facts(document: dict[str, Any]) -> dict[str, Any]:
    """Give the facts of a document's components and of its operations, under the paths that a client sees."""
    components = document["components"]
    base = urlsplit(document["servers"][0]["url"]).path
    return {
        "source": f"{document['info']['title']} {document['info']['version']}",
        "operations": {
            f"{method.upper()} {base}{path}": _operation(operation, components, document.get("security", []))
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        },
        "schemas": {name: schema(each) for name, each in components["schemas"].items()},
        "security_schemes": {
            name: {key: scheme[key] for key in ("type", "scheme", "name", "in") if key in scheme}
            for name, scheme in components["securitySchemes"].items()
        },
    }


def _operation(
    operation: dict[str, Any], components: dict[str, Any], security: list[dict[str, Any]]
) -> dict[str, Any]:
    body = operation.get("requestBody")
    return {
        "id": operation["operationId"],
        "security": sorted(name for each in operation.get("security", security) for name in each),
        "parameters": {
            each["name"]: {
                "in": each["in"],
                "required": each.get("required", False),
                "schema": schema(each["schema"]),
            }
            for each in operation.get("parameters", [])
        },
        "request": body and {"required": body.get("required", False), "content": _content(body)},
        "responses": {
            status: _content(
                components["responses"][each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each
            )
            for status, each in operation["responses"].items()
        },
    }


def _content(holder: dict[str, Any]) -> dict[str, Any]:
    return {media_type: schema(each["schema"]) for media_type, each in holder.get("content", {}).items()}


def schema(source: dict[str, Any]) -> dict[str, Any]:
    """Give the facts of one schema; an `allOf` of one schema and remarks is that schema."""
    taken: dict[str, Any] = {key: source[key] for key in _PLAIN if key in source}
    if "properties" in source:
        taken["properties"] = {name: schema(each) for name, each in source["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(source.get(key), dict):
            taken[key] = schema(source[key])
    parts = [part for part in map(schema, source.get("allOf", [])) if part]
    if len(parts) > 1:
        raise ValueError("an allOf of more than one schema has no single set of facts")
    return taken | (parts[0] if parts else {})


def main() -> int:
    """Print the facts of the document that the command line names."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: extract_facts.py DOCUMENT\n")
        return 2
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    fenced = re.search(r"^(`{3,})ya?ml\b.*?\n(.*?)^\1", text, re.DOTALL | re.MULTILINE)
    json.dump(facts(yaml.safe_load(fenced[2] if fenced else text)), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
