"""Write the reference of a catalogue's fields, and the JSON Schemas beside it, from the models of its records.

`make catalogue-reference` writes `docs/catalogue.md` and `docs/catalogue/KIND.schema.json`. A test compares the
committed files with what this would write.
"""

import io
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, override

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from ruamel.yaml import YAML

from meterstone.catalogue.reading import KINDS

ROOT: Final = Path(__file__).parents[1]

_BEGINNING: Final = """\
# A catalogue's fields

<!-- Written by `make catalogue-reference` from layers/meterstone/meterstone/catalogue: change that. -->

A catalogue is a folder with a file, or a folder of files, for each kind of record. [Your own catalogue and
usage](catalogue-and-usage.md) says how to make and load one, and [changing a catalogue while it
runs](catalogue-how-to.md) how to sign up, upgrade, cancel, change a price. These are all fields of all kinds.

**How values are written.** Files are YAML 1.2 (`NO` is Norway, not false) or JSON.

| type | how it is written |
|---|---|
| id | text of 1 to 255 characters, unique within its kind; no control characters, no white space at its ends |
| text | up to 10,000 characters; a number that is meant as text stands in quotes |
| amount | a number, not negative, exact, of up to 12 integer and 18 decimal digits; it may be quoted: `"0.10"` |
| number | the same; may be negative |
| instant | RFC 3339 to the microsecond, UTC without an offset: `2026-01-31T00:00:00+01:00` |
| time zone | a name of the IANA database: `Europe/Berlin` |
| currency | an ISO 4217 code that has a minor unit: `EUR` |
| country | an ISO 3166-1 alpha-2 code: `NO` |

Currencies, countries and the values that are listed below may be written in upper or lower case. A field that is
not required may be left out, or be `null` if it has no default. A field that is not listed is refused.

**In an editor.** Beside this page is a JSON Schema for each kind. The examples' files name theirs in the first
line: an editor with a YAML language server then completes and checks fields. In a copy, correct the path:

```yaml
# yaml-language-server: $schema=../docs/catalogue/customers.schema.json
```

A schema knows one file. `meterstone catalogue check` knows them all: whether ids lead anywhere, whether fields fit
together.
"""


class _Titles(GenerateJsonSchema):
    """Keeps the order of what is written, and gives no titles: those that there are say how a value is written."""

    @override
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    @override
    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        return value


def schema_of(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind's file: a list of records, or the organization itself."""
    record: dict[str, Any] = KINDS[kind].model_json_schema(schema_generator=_Titles)
    found = record.pop("$defs", {})
    for each in (record, *found.values()):
        if each.get("type") == "object":
            # The title of a record is the name of its class.
            each.pop("title", None)
    # What a dated fact is called depends on how its type is spelled: it stands where it is used.
    record = _inlined(record, found)
    parts = {name: _inlined(part, found) for name, part in found.items() if not name.startswith("Dated")}
    # A draft that every editor knows.
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": f"Meterstone: {kind}"}
    if kind == "organization":
        return head | record | ({"$defs": parts} if parts else {})
    # A file in which everything is commented out is null.
    name = KINDS[kind].__name__
    whole = {"type": ["array", "null"], "items": {"$ref": f"#/$defs/{name}"}}
    return head | whole | {"$defs": {name: record} | parts}


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    """Return a schema with the parts in it whose name begins with `Dated`."""
    match schema:
        case {"$ref": str(reference), **rest} if (name := reference.rpartition("/")[2]).startswith("Dated"):
            return _inlined(parts[name] | rest, parts)
        case dict():
            return {key: _inlined(value, parts) for key, value in schema.items()}
        case list():
            return [_inlined(value, parts) for value in schema]
        case _:
            return schema


def reference() -> str:
    """Return the reference, in Markdown."""
    return "\n".join([_BEGINNING, *(part for kind in KINDS for part in _section(kind))])


def files() -> dict[Path, str]:
    """Return the content of every file that is written."""
    schemas = {
        ROOT / "docs" / "catalogue" / f"{kind}.schema.json": json.dumps(schema_of(kind), indent=1) + "\n"
        for kind in KINDS
    }
    return {ROOT / "docs" / "catalogue.md": reference()} | schemas


def _section(kind: str) -> Iterator[str]:
    schema = schema_of(kind)
    parts = schema.get("$defs", {})
    record = schema if kind == "organization" else parts[KINDS[kind].__name__]
    yield f"## {kind}\n"
    yield f"{record['description']}\n"
    yield from _fields(record)
    for example in record["examples"]:
        yield f"```yaml\n{_yaml(example if kind == 'organization' else [example])}```\n"
    yield from _inner(parts, record)


def _inner(parts: dict[str, Any], record: dict[str, Any]) -> Iterator[str]:
    """Describe the records inside a record, each under the fields that have it."""
    for name, schema in record["properties"].items():
        found = re.search(r"#/\$defs/(\w+Record)", json.dumps(schema))
        if found is not None:
            part = parts[found[1]]
            yield f"### {name}\n"
            yield f"{part['description']}\n"
            yield from _fields(part)


def _fields(record: dict[str, Any]) -> Iterator[str]:
    yield "| field | type | default | meaning |\n|---|---|---|---|"
    for name, schema in record["properties"].items():
        default = "**required**" if name in record.get("required", ()) else _default(schema["default"])
        yield f"| `{name}` | {_type(schema)} | {default} | {schema['description']} |"
    yield ""


def _default(value: Any) -> str:
    if value is None:
        return ""
    # A number's default is text in the schema, so that it is exact.
    return f"`{value if value and isinstance(value, str) else json.dumps(value)}`"


def _type(schema: dict[str, Any]) -> str:
    """Say in words what a field holds."""
    if "title" in schema:
        return str(schema["title"])
    match schema:
        case {"$ref": _}:
            return "a mapping, see below"
        case {"anyOf": [inner, {"type": "null"}]}:
            return _type(inner) + (" or `null`" if "default" not in schema else "")
        case {"type": "array", "items": inner}:
            return f"a list, each {_type(inner)}"
        case {"type": "boolean"}:
            return "`true` · `false`"
        case {"type": "object", "patternProperties": inner} | {
            "type": "object",
            "additionalProperties": inner,
        }:
            values = next(iter(inner.values())) if "patternProperties" in schema else inner
            return f"a mapping of text to {_type(values)}"
        case {"type": "string"}:
            return "text"
        case _:
            raise ValueError(f"no words for {schema}")


def _yaml(value: Any) -> str:
    written = io.StringIO()
    yaml = YAML(pure=True)
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), _null)
    yaml.dump(value, written)
    # An instant needs no quotes in YAML 1.2.
    return textwrap.dedent(re.sub(r"'(\d{4}-\d\d-\d\dT[^']*)'", r"\1", written.getvalue()))


def _null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def main() -> None:
    """Write the files."""
    for path, content in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)


if __name__ == "__main__":
    main()
