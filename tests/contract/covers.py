"""Tell where an OpenAPI 3.1 document says less than the facts of another one (see `extract_facts`).

Saying more is right: further values, further types, null, further fields, further statuses. In an answer more
fields may be required than the facts require, in a request only fewer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

type Json = Mapping[str, Any]
type Direction = Literal["request", "response", "either"]

#: A schema of the first type also takes every value of the others.
_WIDER = {"number": {"integer"}}


def gaps(facts: Json, document: Json) -> list[str]:
    """Say each name, type, format, enum value or rule on presence of the facts that the document lacks."""
    return sorted(set(_Comparison(facts, document).gaps()))


@dataclass(frozen=True, slots=True)
class _Comparison:
    facts: Json
    document: Json

    def gaps(self) -> Iterator[str]:
        ours = self.document["components"]
        for name, scheme in self.facts["security_schemes"].items():
            if not scheme.items() <= ours["securitySchemes"].get(name, {}).items():
                yield f"security scheme {name}: not as it was"
        for name, schema in self.facts["schemas"].items():
            if name in ours["schemas"]:
                yield from self._schema(f"schema {name}", schema, ours["schemas"][name], "either", ())
            else:
                yield f"schema {name}: missing"
        for route, operation in self.facts["operations"].items():
            method, path = route.split(" ")
            mine = self.document["paths"].get(path, {}).get(method.lower())
            if mine is None:
                yield f"{route}: missing"
            else:
                yield from self._operation(route, operation, mine)

    def _operation(self, route: str, theirs: Json, ours: Json) -> Iterator[str]:
        if theirs["id"] != ours.get("operationId"):
            yield f"{route}: operationId"
        if set(theirs["security"]) != {name for each in ours.get("security", []) for name in each}:
            yield f"{route}: security"
        parameters = {each["name"]: each for each in map(self._own, ours.get("parameters", []))}
        for name, parameter in theirs["parameters"].items():
            where = f"{route} {name}"
            mine = parameters.get(name, {})
            if mine.get("in") != parameter["in"]:
                yield f"{where}: missing"
                continue
            if mine.get("required", False) and not parameter["required"]:
                yield f"{where}: required"
            yield from self._schema(where, parameter["schema"], mine["schema"], "request", ())
        for name, parameter in parameters.items():
            if name not in theirs["parameters"] and parameter.get("required", False):
                yield f"{route} {name}: required"
        if theirs["request"]:
            body = self._own(ours.get("requestBody", {}))
            if body.get("required", False) and not theirs["request"]["required"]:
                yield f"{route} request: required"
            yield from self._content(f"{route} request", theirs["request"]["content"], body, "request")
        for status, content in theirs["responses"].items():
            if status not in ours["responses"]:
                yield f"{route} {status}: missing"
            else:
                answer = self._own(ours["responses"][status])
                yield from self._content(f"{route} {status}", content, answer, "response")

    def _content(self, where: str, theirs: Json, ours: Json, direction: Direction) -> Iterator[str]:
        for media_type, schema in theirs.items():
            mine = ours.get("content", {}).get(media_type)
            if mine is None:
                yield f"{where}: no {media_type}"
            else:
                yield from self._schema(where, schema, mine["schema"], direction, ())

    def _schema(
        self, where: str, theirs: Json, ours: Json, direction: Direction, seen: tuple[str, ...]
    ) -> Iterator[str]:
        if "$ref" in theirs:
            name = theirs["$ref"].rsplit("/", 1)[1]
            if name in seen:
                return
            seen = (*seen, name)
            theirs = self.facts["schemas"][name]
        branches = list(self._branches(ours))
        types = {"null"} if theirs.get("nullable") else set()
        if "type" in theirs:
            types |= {theirs["type"]}
        for missing in sorted(types - set(chain.from_iterable(map(_types, branches)))):
            yield f"{where}: {missing} is not taken"
        fitting = [each for each in branches if theirs.get("type") in _types(each)]
        if "format" in theirs and all(each.get("format") != theirs["format"] for each in fitting):
            yield f"{where}: format {theirs['format']}"
        # A branch that lists no values takes all of its type.
        if "enum" in theirs and all("enum" in each for each in fitting):
            for value in theirs["enum"]:
                if all(value not in each["enum"] for each in fitting):
                    yield f"{where}: value {value}"
        if theirs.get("type") == "object" and fitting:
            yield from self._object(where, theirs, fitting[0], direction, seen)
        if "items" in theirs and fitting:
            yield from self._schema(
                f"{where}[]", theirs["items"], fitting[0].get("items", {}), direction, seen
            )

    def _object(
        self, where: str, theirs: Json, ours: Json, direction: Direction, seen: tuple[str, ...]
    ) -> Iterator[str]:
        required, asked = set(theirs.get("required", ())), set(ours.get("required", ()))
        if direction == "response":
            yield from (f"{where}.{name}: not required" for name in sorted(required - asked))
        if direction == "request":
            yield from (f"{where}.{name}: required" for name in sorted(asked - required))
        for name, schema in theirs.get("properties", {}).items():
            if name in ours.get("properties", {}):
                yield from self._schema(f"{where}.{name}", schema, ours["properties"][name], direction, seen)
            else:
                yield f"{where}.{name}: missing"
        if "additionalProperties" in theirs:
            values = ours.get("additionalProperties", {})
            if values is False:
                yield f"{where}.*: refused"
            else:
                yield from self._schema(f"{where}.*", theirs["additionalProperties"], values, direction, seen)

    def _branches(self, schema: Json) -> Iterator[Json]:
        """Give the alternatives of which a value must fit one."""
        schema = self._own(schema)
        alternatives = schema.get("anyOf") or schema.get("oneOf")
        if not alternatives:
            yield schema
        for each in alternatives or ():
            yield from self._branches(each)

    def _own(self, node: Json) -> Json:
        while "$ref" in node:
            target: Any = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node


def _types(schema: Json) -> set[str]:
    stated = schema.get("type", [])
    types = set(stated if isinstance(stated, list) else [stated])
    return types.union(*(_WIDER[each] for each in types & _WIDER.keys()))
