"""What happens in the golden run: `before` makes a table of everything, `after` goes on with one."""

import json
from typing import Any

from support.golden_run import HOUR, MINUTE, NOW, ORGANIZATION, ROOT, Run

_MODELS = ("large", "small", "#1", "é", None, "a%b")
_VALUES = (1, 2, 12.5, 3, 0, "7.001", -4, None, 100, 0.25)


def before(run: Run) -> None:
    """Load, import, post, fold, replay, withdraw and rebuild; an import is left that was stopped."""
    run.load()
    run.key = run.command("keys", "create", organization=ORGANIZATION, name="golden").strip()
    revoked = run.command("keys", "create", organization=ORGANIZATION, name="revoked").strip()
    run.command("keys", "revoke", run.command("keys", "list").splitlines()[1].partition("\t")[0])
    run.command("import", run.usage("main.jsonl", main_usage()), organization=ORGANIZATION)
    run.command("import", run.usage("many.jsonl", usage_of_many()), organization=ORGANIZATION)
    run.command("import", run.usage("main.jsonl", main_usage()), organization=ORGANIZATION)
    lost = run.usage("lost.jsonl", rows("lost", 4, "request", external_subscription_id="dunlin"))
    run.stopped(3, "import", lost, organization=ORGANIZATION)
    run.command("imports", organization=ORGANIZATION)
    run.command("imports", organization=ORGANIZATION, close="lost.jsonl")
    run.roll()
    take_in(run)
    every_request(run)
    run.ask("revoked key", "analytics_usage", _keyed(run, revoked))
    run.deliver()
    run.fold([{"eventName": "INSERT", "dynamodb": {"SequenceNumber": "7", "NewImage": {"e": {}, "acc": {}}}}])
    run.now += HOUR
    run.roll()
    run.command("unmatched", organization=ORGANIZATION)
    run.command("unmatched", "--json", organization=ORGANIZATION)
    run.command("poison")
    run.command("poison", "--json")
    run.load("early")
    run.load("early", "late")
    run.command("replay", organization=ORGANIZATION)
    run.command("withdraw", "main-3", "lg_1", "nothing", organization=ORGANIZATION, subscription="dunlin")
    run.deliver()
    run.command("rebuild", organization=ORGANIZATION)
    run.restart()
    # The new generation counts from the stream, too.
    for number in range(3):
        body = flexprice(f"g2_{number}", "late", NOW + number * MINUTE)
        run.post(f"after the rebuild {number}", "/v1/events", body)
    run.deliver()
    run.command("withdraw", "fx_1", organization=ORGANIZATION, customer="many")
    run.stopped(5, "import", resumed(run), organization=ORGANIZATION)
    run.command("imports", organization=ORGANIZATION)
    run.command("imports", "--json", organization=ORGANIZATION)
    run.restart()


def reads(run: Run) -> None:
    """Ask both usage routes for everything."""
    whole = {"from_date": "2023-10-20", "to_date": "2023-12-31"}
    run.analytics("analytics daily", from_date="2023-11-08", to_date="2023-11-11")
    for granularity in ("daily", "weekly", "monthly", "yearly"):
        run.analytics(f"analytics {granularity} of all", time_granularity=granularity, **whole)
    for name, value in {
        "currency": "USD",
        "plan_code": "pro",
        "customer_country": "NO",
        "customer_type": "company",
        "external_customer_id": "many",
        "external_subscription_id": "dunlin",
        "is_billable_metric_recurring": "true",
        "billable_metric_code": "sum",
    }.items():
        run.analytics(f"analytics {name}", time_granularity="monthly", **{name: value}, **whole)
    ids = ["dunlin", "dunlin_shifted", *golden_periods(), "early", "late", "after"]
    for each in ids:
        run.post(f"usage of {each}", "/v1/subscriptions/usage", {"subscription_id": f"sub_{each}"})
    window = {"start_time": "2023-11-10T11:30:00.000001Z", "end_time": "2023-12-01T17:45:00Z"}
    for each in ("dunlin", "ONETIME"):
        lifetime = {"subscription_id": f"sub_{each}", "lifetime_usage": True}
        run.post(f"lifetime usage of {each}", "/v1/subscriptions/usage", lifetime)
        body = {"subscription_id": f"sub_{each}", **window}
        run.post(f"a window of {each}", "/v1/subscriptions/usage", body)


def after(run: Run) -> str:
    """Go on with a table that holds what `before` left: everything that can be done to it is done again.

    Give what a rebuild finds different from what was counted until then.
    """
    run.now = NOW + 5 * HOUR
    run.command("keys", "list")
    run.command("imports", organization=ORGANIZATION)
    run.command("unmatched", organization=ORGANIZATION)
    run.command("poison")
    run.command("rebuild", organization=ORGANIZATION)
    run.command("import", resumed(run), organization=ORGANIZATION)
    run.command("import", run.usage("many.jsonl", usage_of_many()), organization=ORGANIZATION)
    run.command("import", run.usage("lost.jsonl", lost_found()), organization=ORGANIZATION)
    run.command(
        "import",
        run.usage("more.jsonl", rows("more", 9, "request", external_customer_id="many")),
        organization=ORGANIZATION,
    )
    run.load("early", "late")
    late = [lago(f"late_{number}", "dunlin", NOW - (7 - 3 * number) * 24 * HOUR) for number in range(3)]
    run.post("late events", "/api/v1/events/batch", {"events": late})
    run.post("an old event again", "/api/v1/events/batch", {"events": [lago("lg_2", "dunlin", NOW - HOUR)]})
    # All of it comes again: what was counted is not counted twice.
    run.deliver()
    run.now += 20 * 24 * HOUR
    run.roll()
    run.load("early", "late", "after")
    run.command("replay", organization=ORGANIZATION)
    different = run.command("rebuild", "--dry-run", organization=ORGANIZATION)
    run.command("withdraw", "main-5", organization=ORGANIZATION, subscription="dunlin")
    run.command("rebuild", organization=ORGANIZATION)
    run.command("rebuild", organization=ORGANIZATION)
    run.roll()
    run.restart()
    reads(run)
    return different


def take_in(run: Run) -> None:
    """Post events in each of the four ways, of those that are counted, and of those that match nothing."""
    hours = iter(range(1, 99))

    def at() -> int:
        return NOW - next(hours) * 5 * HOUR

    run.post("a Lago event", "/api/v1/events", {"event": lago("lg_1", "dunlin", at())})
    run.post("a Lago event again", "/api/v1/events", {"event": lago("lg_1", "dunlin", NOW - 5 * HOUR)})
    run.post("another Lago event", "/api/v1/events", {"event": lago("lg_1", "dunlin", NOW - HOUR)})
    batch = [lago(f"lg_{number}", "dunlin", at(), _code(number)) for number in range(2, 9)]
    run.post("a Lago batch", "/api/v1/events/batch", {"events": batch})
    run.post("a Lago batch again", "/api/v1/events/batch", {"events": batch})
    run.post("a Flexprice event", "/v1/events", flexprice("fx_1", "many", at(), "seat"))
    bulk = [flexprice(f"fx_{number}", "many", at(), _code(number)) for number in range(1, 9)]
    run.post("a Flexprice bulk", "/v1/events/bulk", {"events": [*bulk, {"event_name": 7}]})
    unmatched = [
        lago("un_1", "late", NOW - HOUR),
        lago("un_2", "early", NOW - HOUR),
        lago("un_3", "after", NOW),
    ]
    for each in unmatched:
        run.post(f"unmatched {each['transaction_id']}", "/api/v1/events", {"event": each})
    run.post("an unmatched customer", "/v1/events", flexprice("un_4", "late", NOW - 2 * HOUR))
    run.post("an unknown code", "/v1/events", flexprice("un_5", "many", NOW - 2 * HOUR, "nothing"))


def every_request(run: Run) -> None:
    """Make every request of `events/`, and some that are of no use."""
    for file in sorted((ROOT / "events").glob("*.json")):
        event = json.loads(file.read_text().replace("events-key", run.key))
        run.ask(file.stem, file.name.partition(".")[0], event)
    run.ask("a trailing slash", "ingest_events", run.event("PUT", "/v1/events/bulk/"))
    run.ask("no path", "ingest_events", {})
    for function, path in (
        ("analytics_usage", "/api/v1/analytics/usage"),
        ("subscription_usage", "/v1/subscriptions/usage"),
        ("ingest_events", "/v1/events"),
    ):
        run.ask(f"HEAD {function}", function, run.event("HEAD", path))
        run.table.faults.unavailable = lambda _: True
        run.ask(f"nowhere {function}", function, run.event("GET", "/nowhere"))
        run.table.faults.unavailable = lambda _: False
    run.table.faults.unavailable = lambda _: True
    run.post("unavailable for Lago", "/api/v1/events", {"event": lago("x", "dunlin", NOW)})
    run.post("unavailable for Flexprice", "/v1/events", flexprice("x", "many", NOW))
    run.table.faults.unavailable = lambda _: False


def main_usage() -> list[dict[str, Any]]:
    """List events of the subscription that has every meter; some cannot be counted, one row is none."""
    found = rows("main", 18, "request", external_subscription_id="dunlin")
    found += rows("seat", 6, "seat", external_subscription_id="dunlin")
    found += rows("peak", 6, "peak", external_subscription_id="dunlin")
    found += [found[0], {"transaction_id": "bad"}]
    return found + rows("nobody", 1, "request", external_subscription_id="no")


def usage_of_many() -> list[dict[str, Any]]:
    """List events of the customer who has a subscription of each billing period, and of another."""
    found = rows("many", 12, "request", external_customer_id="many")
    found += rows("kept", 6, "seat", external_customer_id="many")
    return [*found, *rows("shifted", 8, "request", external_subscription_id="shifted #1")]


def lost_found() -> list[dict[str, Any]]:
    """List the events of the import that was closed, and one that it never came to."""
    return rows("lost", 5, "request", external_subscription_id="dunlin")


def resumed(run: Run) -> str:
    """Write the file whose import is stopped, and gone on with."""
    return run.usage("resumed.jsonl", rows("resumed", 6, "request", external_subscription_id="dunlin"))


def rows(name: str, count: int, code: str, **whose: str) -> list[dict[str, Any]]:
    """Give rows of usage, over five weeks, in no order of their times."""
    first = 1_699_081_200  # 2023-11-04T07:00:00Z
    return [
        {
            "transaction_id": f"{name}-{number}",
            "code": code,
            "timestamp": first + (number * 7919 + len(name) * 13) % 432_000 + (number * 5 % 7) * 86_400,
            "properties": _properties(number),
        }
        | whose
        for number in range(count)
    ]


def lago(name: str, subscription: str, at: int, code: str = "request") -> dict[str, Any]:
    """Give an event in Lago's shape."""
    return {
        "transaction_id": name,
        "external_subscription_id": subscription,
        "code": code,
        "timestamp": f"{at // 1_000_000}.{at % 1_000_000:06}",
        "precise_total_amount_cents": "12.5",
        "properties": _properties(len(name) + at // HOUR),
    }


def flexprice(name: str, customer: str, at: int, code: str = "request") -> dict[str, Any]:
    """Give an event in Flexprice's shape."""
    seconds = at // 1_000_000
    day, rest = divmod(seconds - 1_701_388_800, 86_400)  # 2023-12-01
    text = f"2023-12-{1 + day:02}T{rest // 3600:02}:{rest // 60 % 60:02}:00Z"
    return {
        "event_name": code,
        "external_customer_id": customer,
        "event_id": name,
        "timestamp": text,
        "source": "golden",
        "properties": _properties(len(name) + at // HOUR),
    }


def golden_periods() -> tuple[str, ...]:
    """Name the billing periods, each of which has a subscription."""
    return ("DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "HALF_YEARLY", "ANNUAL", "ONETIME")


def _code(number: int) -> str:
    return ("request", "seat", "peak")[number % 3]


def _properties(number: int) -> dict[str, Any]:
    return {"tokens": _VALUES[number % len(_VALUES)], "model": _MODELS[number % len(_MODELS)]}


def _keyed(run: Run, key: str) -> dict[str, Any]:
    return run.event("GET", "/api/v1/analytics/usage", headers={"Authorization": f"Bearer {key}"})
