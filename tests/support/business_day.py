"""What both endpoints, the lists and the recounts say of one customer, as the official clients read it."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flexprice import Flexprice
from lago_python_client.client import Client

from support.over_http import call

#: Of each plan, and of each meter's code: units and cents.
type Bill = dict[str, dict[str, tuple[float, int]]]

#: An event counts within seconds, and what a change has moved within a minute. A deployed function starts first.
PATIENCE: Final = 90


def last_month(day: int, hour: int = 0) -> datetime:
    """Return an instant on a day of last month, in UTC."""
    of = datetime.now(UTC).replace(day=1) - timedelta(days=1)
    return of.replace(day=day, hour=hour, minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Books:
    """What is said of the customer `acme`: the analytics by Lago's client, usage by Flexprice's."""

    url: str
    key: str
    #: The code of each meter, by its id.
    codes: Mapping[str, str]

    def analytics(self, **options: str) -> dict[str, tuple[float, int]]:
        """Return what all days from the begin of last month on come to, by the meter's code."""
        days = {"from_date": f"{last_month(1):%Y-%m-%d}", "time_granularity": "daily"}
        until = {"to_date": f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"}
        client: Any = Client(api_key=self.key, api_url=f"{self.url}/")
        found: dict[str, tuple[float, int]] = defaultdict(lambda: (0, 0))
        for row in client.usages.find_all(days | until | options)["usages"]:
            units, cents = found[row.billable_metric_code]
            found[row.billable_metric_code] = (units + float(row.units), cents + row.amount_cents)
        return {code: each for code, each in found.items() if any(each)}

    def by_plan(self, *plans: str) -> Bill:
        """Return what the analytics have of each plan that has anything."""
        found = {plan: self.analytics(plan_code=plan) for plan in plans}
        return {plan: each for plan, each in found.items() if each}

    def usage(self, start: datetime | None = None, end: datetime | None = None) -> Bill:
        """Return what the subscriptions' usage within a window is, by plan; over all their time without one."""
        found: Bill = {}
        window: dict[str, Any] = {"start_time": start, "end_time": end}
        if start is None and end is None:
            window = {"lifetime_usage": True}
        with Flexprice(server_url=f"{self.url}/v1", api_key_auth=self.key, timeout_ms=30_000) as client:
            for each in self.get("/catalogue/v1/subscriptions?customer=acme")["subscriptions"]:
                usage = client.subscriptions.get_subscription_usage(subscription_id=each["id"], **window)
                rows = {
                    self.codes[row.meter_id]: (row.quantity, round((row.amount or 0) * 100))
                    for row in usage.charges or ()
                    if row.quantity and row.meter_id
                }
                if rows:
                    assert each["plan"] not in found
                    found[each["plan"]] = rows
        return found

    def come_to(self, expected: Bill) -> None:
        """Check that both endpoints come to a bill: as soon as all is counted."""
        total: dict[str, tuple[float, int]] = defaultdict(lambda: (0, 0))
        for rows in expected.values():
            for code, (units, cents) in rows.items():
                total[code] = (total[code][0] + units, total[code][1] + cents)
        plans = {each["code"] for each in self.get("/catalogue/v1/plans")["plans"]}
        wanted = (expected, expected, total)
        found = until(
            lambda: (self.by_plan(*plans), self.usage(), self.analytics()), lambda found: found == wanted
        )
        assert found == wanted, found

    def uncounted(self) -> list[tuple[str, str]]:
        """List the events that do not count: id and reason of each."""
        return [(each["id"], each["reason"]) for each in self.get("/v1/events/uncounted")["events"]]

    def withdraw(self, transaction_id: str, **subject: str) -> None:
        """Withdraw an event, of which neither client knows how."""
        ((name, whose),) = subject.items()
        path = f"/api/v1/events/{transaction_id}?{name}={whose}"
        status, body = call(self.url + path, method="DELETE", headers=self._headers)
        assert status == 200, body

    def recounted(self) -> list[dict[str, Any]]:
        """Wait until all that is counted anew is counted, and return the recounts."""
        ids = [each["id"] for each in self.get("/catalogue/v1/recounts")["recounts"]]
        return [
            until(
                lambda name=name: self.get(f"/catalogue/v1/recounts/{name}"),  # type: ignore[misc]
                lambda recount: bool(recount["done"]),
            )
            for name in ids
        ]

    def get(self, path: str) -> Any:
        """Return what a path of the catalogue's own routes, or of the lists, answers."""
        status, body = call(self.url + path, headers=self._headers)
        assert status == 200, body
        return body

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", "x-api-key": self.key}


def until[T](ask: Callable[[], T], good: Callable[[T], bool]) -> T:
    """Ask again and again until an answer is good, and return the last one."""
    give_up = time.monotonic() + PATIENCE
    while not good(found := ask()) and time.monotonic() < give_up:
        time.sleep(0.2)
    return found
