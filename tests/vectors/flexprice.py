"""Flexprice's vectors, a section at a time, and the names of the deliberate differences from them."""

import json
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

Case = dict[str, Any]


class Difference(StrEnum):
    """Why a case is answered otherwise than Flexprice answers it. `docs/differences.md` explains each."""

    TOTALS = "totals are sums of rows"
    SYMBOLS = "symbols on split rows"
    ISO_PRECISIONS = "ISO precisions"
    ZERO_BUCKETS = "zero buckets"
    NON_NUMERIC_FIELDS = "non-numeric fields"
    NUMERIC_FILTER_TEXT = "numeric filter text"
    PACKAGE_DIVISION = "exact package division"
    ONE_CURRENCY = "one currency per subscription"
    NO_CHILDREN = "children of parent subscriptions are not supported"


def section(name: str) -> list[Case]:
    """Return the cases of a section, their JSON numbers as decimals."""
    text = (Path(__file__).parent / "flexprice.json").read_text(encoding="utf-8")
    cases: list[Case] = json.loads(text, parse_float=Decimal)[name]
    return cases
