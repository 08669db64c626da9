"""The routes of `template.yaml`: what is deployed is what the gateway on this machine serves."""

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
    """Read the folder of the function that answers each path: any method of a path reaches it."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    found: dict[str, Path] = {}
    for resource in yaml.load(template.read_text(encoding="utf-8"))["Resources"].values():
        if resource["Type"] != _FUNCTION:
            continue
        function = resource["Properties"]
        for event in function.get("Events", {}).values():
            if event["Type"] == "Api" and event["Properties"]["Method"] == _ANY:
                found[event["Properties"]["Path"]] = template.parent / function["CodeUri"]
    return found
