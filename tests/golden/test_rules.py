"""A table that was counted by older rules: it says so, is gone on with, and a rebuild makes all of it right."""

from collections.abc import Iterator
from copy import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.events.log import read_log
from meterstone.store.operations.generations import Generations
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.usage.analytics import UsageQuery
from meterstone.usage.calendar import Granularity
from meterstone.usage.instant import parse_instant
from meterstone.usage.rules import RULES
from support.golden_run import HOUR, NOW, ORGANIZATION, Run, running
from support.golden_story import flexprice, lago, resumed
from support.scenario import Scenario, Usage, expected, listed, oracles, totals

HERE = Path(__file__).parent
TOLD = (
    "usage was counted by the rules of an older version: "
    f"`meterstone rebuild --organization {ORGANIZATION}` makes it right; with --dry-run it lists what changes"
)
ORDINAL = parse_instant("1970-01-01T00:00:00Z"), 719_163
DAY = 24 * HOUR
LATE = (
    Decimal("0.028999999999999998"),
    "1.5E-7",
    "0.0000000001396983861923",
    42259901212262400,
    "-999999999999999999.999999999999999999",
)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Open the table of the first rules, some hours later."""
    with running(tmp_path, (HERE / "table-rules-1.jsonl").read_text().splitlines()) as run:
        run.key = (HERE / "key-rules-1.txt").read_text().strip()
        run.now = NOW + 5 * HOUR
        yield run


def account(run: Run) -> Account:
    found = read_account(run.table, ORGANIZATION, consistent=True)
    assert found is not None
    return found


def said(run: Run) -> Any:
    """Give what the last command said beside its output."""
    return run.transcript[-1]["err"]


def warnings(run: Run) -> int:
    """Count what the clock's log has said of older rules so far."""
    return sum('"was counted by older rules: a rebuild makes it right"' in line for line in run.logs)


def test_late_events_and_a_rebuild_make_all_of_it_right(run: Run) -> None:
    assert (account(run).rules, RULES) == (1, 2)
    run.command("import", resumed(run), organization=ORGANIZATION)
    late = [lago(f"late_{place}", "dunlin", NOW - place * 3 * DAY) for place in range(len(LATE))]
    for place, value in enumerate(LATE):
        text = value if isinstance(value, str) else str(value)
        late[place]["properties"] = {"tokens": text, "model": "large"}
    run.post("late events", "/api/v1/events/batch", {"events": late})
    run.post("a late event", "/v1/events", flexprice("late", "many", NOW - 2 * DAY))
    run.deliver()
    run.roll()
    run.command("replay", organization=ORGANIZATION)
    assert account(run).rules == 1
    run.command("rebuild", "--dry-run", organization=ORGANIZATION)
    assert account(run).rules == 1
    run.command("rebuild", organization=ORGANIZATION)
    assert account(run).rules == RULES
    run.roll()
    check(run)
    run.command("rebuild", "--dry-run", organization=ORGANIZATION)
    assert "nothing differs" in run.transcript[-1]["out"][-1]


def check(run: Run) -> None:
    """Compare the answers of the organization, of each customer, subscription and view with the oracle's."""
    now, known, store = run.now, account(run), AnalyticsStore(run.table)
    generations = Generations(run.table, ORGANIZATION)
    usage = [
        Usage(subject, logged.event)
        for subject in generations.subjects()
        for logged in read_log(run.table, ORGANIZATION, subject)
        if not logged.withdrawn
    ]
    subscriptions = tuple(generations.subscriptions())
    scenario = Scenario(known.meters, subscriptions, (), now)
    days = [(each.subscription, day) for each in oracles(scenario, usage) for day in each.days(now)]
    first, last = (ORDINAL[1] + (at - ORDINAL[0]) // DAY for at in (NOW - 400 * DAY, now + 2 * DAY))
    every = UsageQuery(Granularity.DAILY, first, last)
    asked = [(every, days)]
    for each in subscriptions:
        asked.append(
            (
                replace(every, external_subscription_id=each.external_id),
                [(of, day) for of, day in days if of.external_id == each.external_id],
            )
        )
        asked.append(
            (
                replace(every, external_customer_id=each.customer_id),
                [(of, day) for of, day in days if of.customer_id == each.customer_id],
            )
        )
    for name, field in (
        ("plan", "plan_code"),
        ("country", "customer_country"),
        ("customer_type", "customer_type"),
    ):
        asked += [
            (
                replace(every, **{field: value}),
                [(of, day) for of, day in days if getattr(day, name) == value],
            )
            for value in {getattr(day, name) for _, day in days} - {None}
        ]
    assert len(asked) > 20
    for query, right in asked:
        found = totals(listed(store.daily_usage(known, query, now)))
        assert found == expected(scenario, (day for _, day in right)), query


def test_every_command_on_such_a_table_says_what_to_do(run: Run) -> None:
    run.command("imports", organization=ORGANIZATION)
    assert said(run) == [TOLD]
    run.load("early", "late", "after")
    assert said(run) == [TOLD]
    run.roll()
    assert warnings(run) == 1
    run.command("import", resumed(run), organization=ORGANIZATION)
    run.command("rebuild", organization=ORGANIZATION)
    run.roll()
    assert warnings(run) == 1
    run.command("imports", organization=ORGANIZATION)
    assert said(run) == []
    run.load("late", "early", "after")
    assert said(run) == []


def test_loading_does_not_say_that_it_was_counted_anew(run: Run) -> None:
    run.load("early", "late", "after")
    assert account(run).rules == 1


def test_a_new_organization_begins_with_the_rules_of_this_code(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.load()
        assert account(run).rules == RULES
        assert said(run) == []
