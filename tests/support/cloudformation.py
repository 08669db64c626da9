"""What CloudFormation makes of `template.yaml`: the template expanded by SAM, and its functions worked out.

What only a deployed stack knows stays as it is: a reference to another resource, and the stack's own name and
number.
"""

import atexit
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
    loaded: dict[str, Any] = json.loads(_source())
    return loaded


@cache
def _source() -> str:
    loaded = yaml.load((ROOT / "template.yaml").read_text(), TemplateLoader)  # noqa: S506 (a SafeLoader)
    return json.dumps(loaded)


@cache
def deployed(uploaded: tuple[str, str] = ("", ""), **given: str) -> dict[str, Any]:
    """Return the resources of a stack that is deployed with the given parameters; see `Evaluation`.

    All who ask for the same stack share one value, which they must not change.
    ``uploaded`` is a logical id and what was uploaded for it, in place of what was uploaded for all others.
    """
    parameters = parameters_with(given)
    template = _expanded(parameters, uploaded)
    conditions = template.get("Conditions", {})
    resources: dict[str, Any] = Evaluation(parameters, conditions).of(template["Resources"])
    return {
        name: resource
        for name, resource in resources.items()
        if "Condition" not in resource or Evaluation(parameters, conditions).holds(resource["Condition"])
    }


def parameters_with(given: dict[str, str]) -> dict[str, str]:
    """Return the value of every parameter: the given one, or its default."""
    declared = source()["Parameters"]
    assert given.keys() <= declared.keys()
    return {name: str(each.get("Default", "")) for name, each in declared.items()} | given


def refusals(**given: str) -> list[str]:
    """Return what the template's rules say against these parameters. CloudFormation deploys nothing if they do."""
    evaluation = Evaluation(parameters_with(given), {})
    return [
        assertion["AssertDescription"]
        for rule in source()["Rules"].values()
        if evaluation.of(rule["RuleCondition"])
        for assertion in rule["Assertions"]
        if not evaluation.of(assertion["Assert"])
    ]


def _expanded(parameters: dict[str, str], uploaded: tuple[str, str]) -> dict[str, Any]:
    template = source()
    for name, resource in template["Resources"].items():
        for place in resource.get("Properties", {}).keys() & {"CodeUri", "ContentUri"}:
            # `sam package` puts the address of the uploaded code here.
            resource["Properties"][place] = dict([uploaded]).get(name, "s3://bucket/code.zip")
    process = _sam()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"template": template, "parameters": parameters}) + "\n")
    process.stdin.flush()
    expanded: dict[str, Any] = json.loads(process.stdout.readline())
    return expanded


@cache
def _sam() -> subprocess.Popen[str]:
    """Start the process that expands templates, once: it takes longer to start than to expand one."""
    process = subprocess.Popen(  # noqa: S603
        [SAM_PYTHON, Path(__file__).with_name("sam_transform.py")],
        env={"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": PSEUDO["AWS::Region"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)
    return process


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
