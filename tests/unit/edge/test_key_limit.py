"""How many requests of a key pass: a bucket that holds the requests of two seconds."""

from types import SimpleNamespace

import pytest

from meterstone.edge import key_limit
from meterstone.edge.key_limit import KeyLimit

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class Bench:
    """A limit, and the clock that it looks at."""

    def __init__(self, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        monkeypatch.setattr(key_limit, "time", SimpleNamespace(time_ns=lambda: self.now))
        self.limit = KeyLimit(rate)

    def passed(self, after: float, tries: int, key: str = "a") -> int:
        """Count how many of so many requests pass at once, some seconds later."""
        self.now += round(after * SECOND)
        return sum(self.limit.take(key) == 0 for _ in range(tries))


@pytest.mark.parametrize(
    ("rate", "steps"),
    [
        pytest.param(0, [(0, 1000, 1000)], id="no limit"),
        pytest.param(5, [(0, 100, 10)], id="two seconds' worth at once"),
        pytest.param(5, [(0, 100, 10), (1, 100, 5), (0.2, 100, 1), (0.1, 100, 0)], id="then as many as come"),
        pytest.param(5, [(0, 100, 10), (3600, 100, 10)], id="never more at once"),
        pytest.param(5, [(0, 3, 3), (0.2, 100, 8)], id="what was left, and what came"),
        pytest.param(100, [(0, 1000, 200), (0.01, 100, 1)], id="a hundred a second"),
        pytest.param(0.1, [(0, 10, 1), (9.9, 10, 0), (0.1, 10, 1)], id="one in ten seconds"),
        pytest.param(5, [(0, 100, 10), (-60, 100, 10)], id="a clock that is set back keeps nobody out"),
        pytest.param(7, [(0, 100, 14)] + [(1 / 7, 2, 1)] * 50, id="fractions cost no request"),
    ],
)
def test_what_passes(
    rate: float, steps: list[tuple[float, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(rate, monkeypatch)
    assert [bench.passed(after, tries) for after, tries, _ in steps] == [passed for _, _, passed in steps]


@pytest.mark.parametrize(
    ("rate", "used", "after", "wait"),
    [
        pytest.param(5, 10, 0, 1, id="a fifth of a second"),
        pytest.param(0.1, 1, 0, 10, id="ten seconds"),
        pytest.param(0.1, 1, 2.5, 8, id="seven and a half"),
        pytest.param(0.1, 1, 10, 0, id="over"),
    ],
)
def test_it_says_when_the_next_will_pass(
    rate: float, used: int, after: float, wait: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(rate, monkeypatch)
    assert bench.passed(0, used) == used
    bench.now += round(after * SECOND)
    assert bench.limit.take("a") == wait
    bench.now += wait * SECOND
    assert bench.limit.take("a") == (0 if wait else 10)


def test_each_key_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(5, monkeypatch)
    assert [bench.passed(0, 100, key) for key in "abab"] == [10, 10, 0, 0]


def test_of_more_than_a_thousand_keys_the_longest_silent_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(0.5, monkeypatch)
    for number in range(1000):
        assert bench.passed(0, 2, str(number)) == 1
    assert bench.passed(0, 2, "0") == 0
    assert bench.passed(0, 2, "one more") == 1
    assert bench.passed(0, 1, "0") == 0
    assert bench.passed(0, 2, "1") == 1


@pytest.mark.parametrize(("text", "passed"), [(None, 9), ("", 9), ("0", 9), ("2", 4), ("1.5", 3), ("0.5", 1)])
def test_the_environment_has_the_rate(text: str | None, passed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if text is None:
        monkeypatch.delenv("METERSTONE_REQUESTS_PER_KEY", raising=False)
    else:
        monkeypatch.setenv("METERSTONE_REQUESTS_PER_KEY", text)
    limit = KeyLimit.from_environment()
    assert sum(limit.take("a") == 0 for _ in range(9)) == passed


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf"])
def test_no_rate(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSTONE_REQUESTS_PER_KEY", text)
    with pytest.raises(ValueError, match=r"float|METERSTONE_REQUESTS_PER_KEY"):
        KeyLimit.from_environment()
