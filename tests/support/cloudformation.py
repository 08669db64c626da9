"""What CloudFormation makes of `template.yaml`: the template expanded by SAM, and its functions worked out.

What only a deployed stack knows stays as it is: a reference to another resource, and the stack's own name and
number.
"""

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
SAM_PYTHON = ROOT / ".venvs/sam/bin/python"
#: What the template knows of a stack beside its parameters. Its name and number are left open: see above.
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = {"Ref": "AWS::NoValue"}


class TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags, read as their long forms: `!Ref X` is `{"Ref": "X"}`."""


def _tagged(loader: TemplateLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    match node:
        case yaml.ScalarNode():
            value: Any = loader.construct_scalar(node)
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case _:
            raise TypeError(f"a mapping under !{tag}")
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}


TemplateLoader.add_multi_constructor("!", _tagged)


def source() -> dict[str, Any]:
    """Return `template.yaml` as it stands, with the long forms of its tags."""
    loaded: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), TemplateLoader)  # noqa: S506 (a SafeLoader)
    return loaded


def deployed(**given: str) -> dict[str, Any]:
    """Return the resources of a stack that is deployed with the given parameters; see `Evaluation`."""
    parameters = {
        name: str(declared.get("Default", "")) for name, declared in source()["Parameters"].items()
    } | given
    template = json.loads(_expanded(json.dumps(parameters)))
    conditions = template.get("Conditions", {})
    resources: dict[str, Any] = Evaluation(parameters, conditions).of(template["Resources"])
    return {
        name: resource
        for name, resource in resources.items()
        if "Condition" not in resource or Evaluation(parameters, conditions).holds(resource["Condition"])
    }


@cache
def _expanded(parameters: str) -> str:
    template = source()
    for resource in template["Resources"].values():
        for place in resource.get("Properties", {}).keys() & {"CodeUri", "ContentUri"}:
            # `sam package` puts the address of the uploaded code here.
            resource["Properties"][place] = "s3://bucket/code.zip"
    asked = json.dumps({"template": template, "parameters": json.loads(parameters)})
    done = subprocess.run(  # noqa: S603
        [SAM_PYTHON, Path(__file__).with_name("sam_transform.py")],
        input=asked,
        env={"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": PSEUDO["AWS::Region"]},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


class Evaluation:
    """Works out CloudFormation's functions, as far as parameters, conditions and pseudo parameters go."""

    def __init__(self, parameters: dict[str, str], conditions: dict[str, Any]) -> None:
        self._known = PSEUDO | parameters
        self._conditions = conditions

    def holds(self, condition: str) -> bool:
        """Tell whether a condition of the template holds."""
        found: bool = self.of(self._conditions[condition])
        return found

    def of(self, value: Any) -> Any:
        """Return a value with its functions worked out. An `AWS::NoValue` is left out of what holds it."""
        match value:
            case dict() if len(value) == 1:
                ((name, argument),) = value.items()
                return self._call(name, argument)
            case dict():
                return {key: each for key, item in value.items() if (each := self.of(item)) != NO_VALUE}
            case list():
                return [each for item in value if (each := self.of(item)) != NO_VALUE]
            case _:
                return value

    def _call(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return self._known.get(argument, {"Ref": argument})
            case "Condition":
                return self.holds(argument)
            case "Fn::If":
                condition, met, unmet = argument
                return self.of(met if self.holds(condition) else unmet)
            case "Fn::Equals":
                first, second = self.of(argument)
                return first == second
            case "Fn::Not":
                return not self.of(argument[0])
            case "Fn::And":
                return all(self.of(argument))
            case "Fn::Or":
                return any(self.of(argument))
            case "Fn::Sub":
                return self._substitute(argument)
            case "Fn::Join":
                separator, parts = self.of(argument)
                joined = all(isinstance(part, str) for part in parts)
                return separator.join(parts) if joined else {name: [separator, parts]}
            case _:
                each = self.of(argument)
                return {} if each == NO_VALUE else {name: each}

    def _substitute(self, argument: Any) -> Any:
        text, given = (argument, {}) if isinstance(argument, str) else argument
        known = self._known | self.of(given)

        def value(found: re.Match[str]) -> str:
            each = known.get(found[1])
            return each if isinstance(each, str) else found[0]

        text = re.sub(r"\$\{([\w:.]+)\}", value, text)
        left = {key: each for key, each in self.of(given).items() if f"${{{key}}}" in text}
        if "${" not in text:
            return text
        return {"Fn::Sub": [text, left] if left else text}
