"""A catalogue's folder that has nothing wrong, to be read, or to be spoiled by a test."""

from pathlib import Path
from typing import Final

import pytest

from meterstone_cli.catalogue import read_catalogue
from meterstone_cli.problem import InputRefusedError
from support.problems import without_line_and_id

GOOD: Final = {
    "organization.yaml": "{id: 6f9e0e0e-0000-4000-8000-000000000001, name: Fjord, timezone: Europe/Oslo}",
    "customers.yaml": """
- {id: c1, name: Ola, country: NO, customer_type: individual}
- id: c2
  timezone: Asia/Tokyo
  country: [{value: JP}, {value: US, since: 2026-02-01T00:00:00+09:00}]
""",
    "plans.yaml": "- {code: basic, name: Basic}\n",
    "meters.yaml": """
- {id: calls, code: api_calls, aggregation: COUNT, filters: {size: [5.0, big, true]}}
- {id: tokens, code: tokens, name: Tokens, aggregation: SUM, field: n, event_name: request, recurring: true}
- {id: level, code: level, aggregation: WEIGHTED_SUM, field: n}
- {id: peak, code: peak, aggregation: MAX, field: n, bucket_size: 15MIN}
""",
    "prices.yaml": """
- {id: call, currency: NOK, billing_model: FLAT_FEE, amount: 0.1, meter_id: calls, display_name: A call}
- {id: token, currency: nok, billing_model: FLAT_FEE, amount: "0.000001", meter_id: tokens}
- {id: fee, currency: nok, billing_model: FLAT_FEE, amount: 49, type: FIXED}
- {id: levelled, currency: nok, billing_model: FLAT_FEE, amount: 1, meter_id: level}
""",
    "subscriptions.yaml": """
- id: s1
  customer: c1
  plan: basic
  currency: NOK
  start: 2026-01-01T00:00:00Z
  commitment: {amount: 100, overage_factor: 1.5, split: whole_units}
  line_items: [{price: call}, {price: fee, id: the-fee, end: 2026-02-01T00:00:00Z}]
- {id: s2, customer: c2, plan: basic, currency: nok, start: 2026-01-01T00:00:00Z, external_id: shared}
""",
}
#: A subscription whose mapping is open: a test adds fields, and the brace that ends it.
S: Final = "- {id: s, customer: c1, plan: basic, currency: NOK, start: 2026-01-01T00:00:00Z"


def write(folder: Path, **files: str) -> Path:
    """Write the good catalogue with some of its files replaced (`prices="…"`) or added (`prices__more="…"`)."""
    contents = GOOD | {name.replace("__", "/") + ".yaml": text for name, text in files.items()}
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def problems(folder: Path) -> list[str]:
    """Return all that is wrong with a folder, without lines and ids of records."""
    with pytest.raises(InputRefusedError) as refused:
        read_catalogue(folder)
    return [without_line_and_id(problem) for problem in refused.value.problems]
