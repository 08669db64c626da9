"""Expand SAM templates as CloudFormation's transform does. Runs in the SAM command line's environment.

Takes a line of JSON, `{"template": ..., "parameters": ...}`, on standard input for each template, and prints the
expanded template in a line. A template has no short tags, and no local path for code.
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
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(expand(asked["template"], asked["parameters"])), flush=True)  # noqa: T201 - the answer
