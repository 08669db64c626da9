"""Expand a SAM template as CloudFormation's transform does. Runs in the SAM command line's environment.

Takes `{"template": ..., "parameters": ...}` as JSON on standard input. The template has no short tags, and no
local path for code.
Prints the expanded template as JSON.
"""

import json
import sys
from typing import Any

from samtranslator.parser.parser import Parser  # type: ignore[import-not-found]
from samtranslator.translator.translator import Translator  # type: ignore[import-not-found]


def expand(template: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    """Return the template with plain CloudFormation resources only; raises SAM's own errors."""
    managed_policies: dict[str, str] = {}
    translator = Translator(managed_policies, Parser())
    expanded: dict[str, Any] = translator.translate(template, parameters, {})
    return expanded


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(expand(asked["template"], asked["parameters"]), sys.stdout)
