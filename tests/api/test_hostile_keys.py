"""Requests without a good key: none may cost a read, memory without bound, or another's requests."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from meterstone.api_key import RANDOM_BYTES, key_of
from meterstone.store.catalogue.accounts import AccountStore
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.events.ingest import Intake
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.store.reading.window import WindowStore
from meterstone.usage.subscription import Organization
from support.calls import CountingTable
from support.written import write_catalogue

ORGANIZATION = Organization("0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a01", "Test")
OLD = "mst_pl5wi_MZBlpuPiY1quAllrxsziRn_pHmaxaKB6Zhxm0"
#: Of each route: function, method, how a key is sent, and what says that it is not good.
LAGO, FLEXPRICE = {"status": 401, "error": "Unauthorized"}, {"error": "Unauthorized"}
ROUTES = {
    "/api/v1/analytics/usage": ("analytics_usage", "GET", "lago", LAGO),
    "/v1/subscriptions/usage": ("subscription_usage", "POST", "flexprice", FLEXPRICE),
    "/api/v1/events": ("ingest_events", "POST", "lago", LAGO),
    "/v1/events/bulk": ("ingest_events", "POST", "flexprice", FLEXPRICE),
}
STORES = {"analytics_usage": AnalyticsStore, "subscription_usage": WindowStore, "ingest_events": Intake}


@pytest.fixture
def table() -> CountingTable:
    table = CountingTable()
    write_catalogue(table, ORGANIZATION, (), (), ())
    return table


@pytest.fixture
def key(table: CountingTable) -> str:
    return create_key(table, ORGANIZATION.id, "test", 0)[0]


@pytest.fixture
def opened(table: CountingTable) -> Callable[[type[AccountStore]], Any]:
    return lambda kind: kind(table)


type Ask = Callable[[dict[str, list[str]]], tuple[int, Any]]


@pytest.fixture(params=ROUTES)
def ask(request: pytest.FixtureRequest, load: Callable[[str], Any]) -> tuple[Ask, str, object]:
    """Give how a route is asked with headers, how it is sent a key, and what it says to a bad one."""
    path = request.param
    function, method, contract, refusal = ROUTES[path]
    # Loaded when it is first asked: its log goes to the output of then.
    invoke = cache(lambda: load(function))

    def ask(headers: dict[str, list[str]]) -> tuple[int, Any]:
        event = {
            "httpMethod": method,
            "path": path,
            "resource": path,
            "headers": {name: values[-1] for name, values in headers.items()},
            "multiValueHeaders": headers,
            "body": "{}" if method == "POST" else None,
            "requestContext": {"requestId": "r-1"},
        }
        status, body, _ = invoke()(event)
        return status, body

    return ask, contract, refusal


def sent(contract: str, key: str) -> dict[str, list[str]]:
    return {"Authorization": [f"Bearer {key}"]} if contract == "lago" else {"x-api-key": [key]}


def junk() -> Iterator[str]:
    """Give 10,000 texts, all different, none of which is a key."""
    for number in range(2_500):
        yield f"{number}"
        yield f"{OLD[:-6]}{number:07}"
        yield f"{OLD}{number:06}"
        yield f"sk_live_{number:044}"


def test_10000_different_junk_keys_cost_no_read(
    ask: tuple[Ask, str, object], table: CountingTable, key: str
) -> None:
    request, contract, refusal = ask
    assert request(sent(contract, key))[0] != 401
    assert table.reads
    for text in junk():
        assert request(sent(contract, text)) == (401, refusal)
    assert table.reads == (0, 0)
    assert request(sent(contract, key))[0] != 401


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(" ", id="a space"),
        pytest.param("ключ-ключ", id="Cyrillic"),
        pytest.param("mst_" + "é" * 43, id="accents, of a key's length"),
        pytest.param("mst_" + "٣" * 43, id="digits of another script"),
        pytest.param("mst_" + "\U0001f511" * 43, id="pictures"),
        pytest.param("mst_" + "\ud800" * 43, id="halves of surrogate pairs"),
        pytest.param("mst_" + "A" * 10_240, id="10 KB"),
        pytest.param("A" * 1_000_000, id="1 MB"),
        pytest.param(OLD + "\x00", id="a NUL behind it"),
        pytest.param(OLD + "\r\nx-api-key: " + OLD, id="a header in it"),
        pytest.param(f"{OLD},{OLD}", id="two in one, with a comma"),
        pytest.param(f"{OLD} {OLD}", id="two in one, with a space"),
    ],
)
def test_odd_texts_are_no_keys(ask: tuple[Ask, str, object], table: CountingTable, text: str) -> None:
    request, contract, refusal = ask
    assert table.reads
    assert request(sent(contract, text)) == (401, refusal)
    assert table.reads == (0, 0)


def test_a_key_that_was_made_up_is_read_once(
    ask: tuple[Ask, str, object], table: CountingTable, capsys: pytest.CaptureFixture[str]
) -> None:
    request, contract, refusal = ask
    assert table.reads
    for reads in ((1, 0), (0, 0), (0, 0)):
        assert request(sent(contract, key_of(bytes(RANDOM_BYTES)))) == (401, refusal)
        assert table.reads == reads
    assert [json.loads(line)["key"] for line in capsys.readouterr().out.splitlines()] == ["unknown"] * 3


def test_a_key_in_several_headers(ask: tuple[Ask, str, object], table: CountingTable, key: str) -> None:
    """The same header twice is refused, unless both are the same; the other contract's header does not matter."""
    request, contract, refusal = ask
    good, other = sent(contract, key), sent(contract, OLD)
    foreign = sent("flexprice" if contract == "lago" else "lago", OLD)
    (name,) = good
    assert table.reads
    assert request({name: good[name] + other[name]}) == (401, refusal)
    assert request({name: other[name] + good[name]}) == (401, refusal)
    assert request({name: good[name], name.upper(): other[name]}) == (401, refusal)
    assert request(foreign) == (401, refusal)
    assert table.reads == (0, 0)
    assert request(good | foreign)[0] != 401
    assert request({name: good[name], name.upper(): good[name]})[0] != 401
    assert table.reads[0] == 1


@pytest.mark.parametrize(
    ("header", "good"),
    [
        ("Bearer {}", True),
        ("bearer {}", True),
        ("BEARER {}", True),
        ("  Bearer   {}  ", True),
        ("Bearer\t{}", True),
        ("{}", False),
        ("Bearer{}", False),
        ("Bearer: {}", False),
        ("Bearer Bearer {}", False),
        ("Bearer {} {}", False),
        ('Bearer "{}"', False),
        ("Basic {}", False),
        ("Token {}", False),
        ("B\u0435arer {}", False),
        ("Bearer", False),
    ],
)
@pytest.mark.parametrize("ask", ["/api/v1/analytics/usage", "/api/v1/events"], indirect=True)
def test_spellings_of_bearer(
    ask: tuple[Ask, str, object],
    table: CountingTable,
    key: str,
    header: str,
    good: bool,  # noqa: FBT001
) -> None:
    request, _, refusal = ask
    assert table.reads
    answer = request({"Authorization": [header.format(key, key)]})
    assert (answer != (401, refusal)) is good
    gets, pages = table.reads
    assert (gets, pages > 0) == (good, good)
