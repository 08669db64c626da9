"""Two subscriptions in two currencies with a week of usage, as commands and functions find them in memory."""

import json
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest

from meterstone.store.catalogue.api_keys import create_key
from support.commands import ORGANIZATION, Machine, row
from support.functions import forget_logger, load_over

OK: Final = HTTPStatus.OK
_EVENTS: Final = Path(__file__).parents[2] / "events"

#: Calls cost a dollar, of which 5 are committed to; load costs 0.0015 dinars in tiers, and may be given back.
SUBSCRIPTIONS = """
- id: s
  external_id: first
  customer: c
  plan: p
  currency: USD
  start: 2026-01-01T00:00:00Z
  commitment: {amount: 5, overage_factor: 1.5}
  line_items:
  - {id: i, price: calls}
- id: t
  external_id: second
  customer: d
  plan: q
  currency: KWD
  start: 2026-01-01T00:00:00Z
  line_items:
  - {id: k, price: load_kwd}
"""
PRICES = """
- {id: calls, currency: usd, billing_model: FLAT_FEE, amount: 1, meter_id: calls}
- {id: load_kwd, currency: kwd, billing_model: FLAT_FEE, amount: 0.0015, meter_id: load}
- id: q_calls
  currency: usd
  billing_model: FLAT_FEE
  amount: 0.5
  meter_id: calls
  entity_type: PLAN
  entity_id: q
"""
#: Each is an event: the code, the day of February, and what it adds to the load.
EVENTS = (
    *(("x", 1), ("x", 1), ("x", 2), ("x", 4), ("x", 4), ("x", 4), ("x", 4)),
    *(("load", 2, "1234.5"), ("load", 3, "-500"), ("load", 4, "0.25")),
)


def bill(machine: Machine) -> Machine:
    """Load the catalogue and count the usage."""
    (machine.folder / "customers.yaml").write_text("- {id: c}\n- {id: d}\n")
    (machine.folder / "plans.yaml").write_text("- {code: p}\n- {code: q, prices: [q_calls]}\n")
    (machine.folder / "prices.yaml").write_text(PRICES)
    (machine.folder / "subscriptions.yaml").write_text(SUBSCRIPTIONS)
    assert machine.load().exit_code == 0
    assert machine.of("import", _usage(machine)).exit_code == 0
    return machine


def _usage(machine: Machine) -> Path:
    rows = []
    for number, (code, day, *load) in enumerate(EVENTS):
        whose = "first" if code == "x" else "second"
        properties = {"n": load[0]} if load else {}
        rows.append(
            row(
                f"e{number}",
                code=code,
                external_subscription_id=whose,
                timestamp=f"2026-02-{day:02}T10:00:00Z",
                properties=properties,
            )
        )
    return machine.usage("usage.jsonl", *rows)


@dataclass(frozen=True)
class Endpoints:
    """The functions' own handlers over a machine's table, and a key for them."""

    machine: Machine
    monkeypatch: pytest.MonkeyPatch

    def get(self, function: str, **parameters: str) -> Any:
        """Ask for the answer to query parameters, as JSON."""
        return self._ask(
            function, "default", multiValueQueryStringParameters={n: [v] for n, v in parameters.items()}
        )

    def post(self, function: str, name: str, path: str, body: object) -> Any:
        """Ask for the answer to a body."""
        return self._ask(function, name, path=path, resource=path, body=json.dumps(body))

    def _ask(self, function: str, name: str, **changes: Any) -> Any:
        key, _ = create_key(self.machine.table, ORGANIZATION, "test", self.machine.now)
        event = json.loads((_EVENTS / f"{function}.{name}.json").read_text().replace("events-key", key))
        self.monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", function)
        forget_logger(function)
        reply = load_over(function, self.machine.table, self.monkeypatch).handler(event | changes, _Context())
        assert reply["statusCode"] == OK, reply
        return json.loads(reply["body"], parse_float=Decimal)


class _Context:
    aws_request_id = "request"
    function_name = "function"
    memory_limit_in_mb = 128
    invoked_function_arn = "arn"
