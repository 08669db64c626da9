"""The soak of `make soak`, for seconds instead of minutes; and that it notices what it is there to notice."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import soak

NONE: soak.Totals = {each: (0, Decimal(0)) for each, _, _ in soak.SUBSCRIPTIONS}
SUBSCRIPTION = soak.SUBSCRIPTIONS[0][0]


@pytest.mark.engine
@pytest.mark.slow
def test_what_is_read_and_posted_for_twenty_seconds_is_answered_and_counted(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert soak.main(["--minutes", "0.33"]) == 0
    told = capfd.readouterr().out
    assert "each is counted once, by both endpoints" in told
    assert "0 errors" in told
    assert all(f"{kind}:" in told for kind in soak.MIX)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, str]]:
    with soak.served() as (url, key, _):
        yield url, key


def asked(url: str, key: str, *more: str) -> list[str]:
    return ["--url", url, "--key", key, "--minutes", "0.1", *more]


@pytest.mark.engine
@pytest.mark.slow
def test_an_address_is_asked_no_faster_than_at_the_rate(
    served: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert soak.main(asked(*served, "--rate", "5")) == 0
    lines = capfd.readouterr().out.splitlines()
    counts = {line.split(":")[0].strip(): line.split()[1] for line in lines if " a second, p50" in line}
    requests = sum(int(number.rstrip(",")) for kind, number in counts.items() if kind != "recount")
    # Each of the four clients finishes what it waits for.
    assert 20 <= requests <= 6 * 5 + 4


@pytest.mark.engine
@pytest.mark.slow
def test_an_event_that_is_lost_fails_the_soak(
    served: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A client that acknowledges to the books what it never sent."""
    monkeypatch.setattr(soak, "COUNTED", 1.0)
    monkeypatch.setattr(soak.Load, "_some", spoiled(soak.Load._some))
    assert soak.main(asked(*served)) == 1
    assert "counted, " in capfd.readouterr().out


def spoiled(some: Any) -> Any:
    def give(load: Any, many: int) -> Any:
        events = some(load, many)
        # The same event twice in one body counts once, and the books have it twice.
        return events[:-1] + events[:1] if many == soak.BULK else events

    return give


@pytest.mark.engine
@pytest.mark.slow
def test_a_key_that_is_not_good_fails_the_soak(
    served: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "COUNTED", 1.0)
    assert soak.main(asked(served[0], "wrong", "--minutes", "0.02")) == 1


def test_an_address_without_a_key_is_refused() -> None:
    with pytest.raises(SystemExit):
        soak.main(["--key", "", "--url", "https://example.com"])


@pytest.mark.parametrize(
    ("counted", "acknowledged", "differs"),
    [
        pytest.param((3, Decimal(60)), (3, 60), False, id="each once"),
        pytest.param((2, Decimal(60)), (3, 60), True, id="lost"),
        pytest.param((4, Decimal(60)), (3, 60), True, id="twice"),
        pytest.param((3, Decimal(59)), (3, 60), True, id="another value"),
    ],
)
def test_both_endpoints_are_compared_with_what_was_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
    counted: tuple[int, Decimal],
    acknowledged: tuple[int, int],
    *,
    differs: bool,
) -> None:
    books = soak.Books()
    books.calls[SUBSCRIPTION], books.tokens[SUBSCRIPTION] = acknowledged
    right = (acknowledged[0], Decimal(acknowledged[1]))
    monkeypatch.setattr(soak, "COUNTED", 0.0)
    for place in range(2):
        found = [NONE | {SUBSCRIPTION: counted if place == number else right} for number in range(2)]
        monkeypatch.setattr(soak, "totals", lambda *_, found=found: tuple(found))
        now = datetime.now(UTC)
        differences = soak.recount(
            soak.Client("http://127.0.0.1:1", "", books), books, (NONE, NONE), (now, now + timedelta(1))
        )
        assert bool(differences) is differs


@pytest.mark.parametrize(
    ("megabytes", "grows"),
    [
        pytest.param([100.0] * 200, False, id="as it was"),
        pytest.param([50.0] * 40 + [100.0] * 160, False, id="before two minutes"),
        pytest.param([100 + place * 0.1 for place in range(200)], True, id="by the minute"),
    ],
)
def test_memory_that_grows_after_two_minutes_fails_the_soak(megabytes: list[float], *, grows: bool) -> None:
    memory = soak.Memory(None)
    memory.samples = [(place * 3.0, each) for place, each in enumerate(megabytes)]
    books = soak.Books()
    books.calls[SUBSCRIPTION] = 1
    assert soak.tell(books, memory, [], 600.0, 1.0) == int(grows)


def test_a_run_that_is_too_short_says_nothing_of_memory() -> None:
    memory = soak.Memory(None)
    memory.samples = [(float(place), 100.0 + place) for place in range(60)]
    assert memory.growth() is None
