"""The routes of `template.yaml`: what is deployed is what the gateway on this machine serves."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_FUNCTION: Final = "AWS::Serverless::Function"
_ANY: Final = "ANY"


class _Constructor(SafeConstructor):
    """Reads CloudFormation's short tags as what stands under them."""


def _untagged(constructor: SafeConstructor, _: str, node: Node) -> Any:
    match node:
        case ScalarNode():
            return constructor.construct_scalar(node)
        case SequenceNode():
            return constructor.construct_sequence(node, deep=True)
        case MappingNode():
            return constructor.construct_mapping(node, deep=True)
        case _:
            raise TypeError(f"{type(node).__name__} under a tag")


_Constructor.add_multi_constructor("!", _untagged)


def routes(template: Path) -> dict[str, Path]:
    """Read the folder of the function that answers each path: any method reaches it, but for `exceptions`."""
    return {path: folder for path, method, folder in _events(template) if method == _ANY}


def exceptions(template: Path) -> dict[tuple[str, str], Path]:
    """Read the folder of the function that answers a method of a path, where another one has all other methods."""
    others = routes(template)
    return {
        (path, method): folder
        for path, method, folder in _events(template)
        if method != _ANY and others.get(path) != folder
    }


def timeouts(template: Path) -> dict[Path, float]:
    """Read the seconds that functions may take, by their folders: those that have a time-out of their own."""
    return {
        template.parent / function["CodeUri"]: float(function["Timeout"])
        for function in _functions(template)
        if "Timeout" in function
    }


def _events(template: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield the path and method of each event that comes through the API, with the folder of its function."""
    for function in _functions(template):
        for event in function.get("Events", {}).values():
            if event["Type"] == "Api":
                asked = event["Properties"]
                yield asked["Path"], asked["Method"], template.parent / function["CodeUri"]


def _functions(template: Path) -> list[dict[str, Any]]:
    return _read(template.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _read(text: str) -> list[dict[str, Any]]:
    """Read the properties of a template's functions. It is asked for several times, and takes a while."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    resources = yaml.load(text)["Resources"].values()
    return [resource["Properties"] for resource in resources if resource["Type"] == _FUNCTION]
