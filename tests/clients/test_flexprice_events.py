"""Flexprice's own Python client, as its users have it, sends events."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from flexprice import Flexprice
from flexprice.models import errors

from meterstone.scope import Scope
from support.stack import Stack


@pytest.fixture
def client(api: Stack) -> Iterator[Flexprice]:
    with Flexprice(server_url=f"{api.base_url}/v1", api_key_auth=api.key) as client:
        yield client


# Of a customer whom no other test asks for: what is counted stays.
def event(**fields: Any) -> Any:
    given = {"event_name": "api_calls", "external_customer_id": f"nobody-{uuid4()}", "event_id": str(uuid4())}
    return given | fields


def details(refused: errors.ErrorResponse) -> set[str]:
    """Name the fields at fault, which the client's own model drops."""
    return set(json.loads(refused.body)["details"])


def test_an_event(client: Flexprice) -> None:
    sent = event(timestamp="2023-11-14T22:13:20.25Z", properties={"model": "large"}, source="tests")
    accepted = client.events.ingest_event(**sent)
    assert accepted == {
        "message": "Event accepted for processing",
        "event_id": sent["event_id"],
        "status": "accepted",
        "unmatched": "customer",
    }
    assert client.events.ingest_event(**sent)["status"] == "duplicate"
    # Another offset is the same time; another source says nothing else of the event.
    again = sent | {"timestamp": "2023-11-14T23:13:20.250+01:00", "source": "elsewhere"}
    assert client.events.ingest_event(**again)["status"] == "duplicate"


def test_the_least_of_an_event(client: Flexprice) -> None:
    answers = [
        client.events.ingest_event(event_name="api_calls", external_customer_id="nobody") for _ in range(2)
    ]
    assert len({UUID(answer["event_id"]) for answer in answers}) == 2


def test_a_conflict(client: Flexprice) -> None:
    sent = event()
    client.events.ingest_event(**sent)
    with pytest.raises(errors.FlexpriceDefaultError) as refused:
        client.events.ingest_event(**sent | {"event_name": "tokens"})
    assert refused.value.status_code == 409
    assert "already_exists" in refused.value.body


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        pytest.param({"event_name": ""}, "event_name", id="no name"),
        pytest.param({"external_customer_id": "x" * 256}, "external_customer_id", id="long id"),
        pytest.param({"event_id": "a\0"}, "event_id", id="control character"),
        pytest.param({"timestamp": "2024-01-01"}, "timestamp", id="bare date"),
        pytest.param({"timestamp": "2023-02-29T00:00:00Z"}, "timestamp", id="no such day"),
        pytest.param(
            {"timestamp": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, "timestamp", id="ahead"
        ),
        pytest.param({"properties": {"a": "x" * 70_000}}, "properties", id="huge"),
    ],
)
def test_bad_events(client: Flexprice, fields: dict[str, Any], name: str) -> None:
    with pytest.raises(errors.ErrorResponse) as refused:
        client.events.ingest_event(**event(**fields))
    assert refused.value.data.code == "validation_error"
    assert details(refused.value) == {name}
    answer = client.events.ingest_events_bulk(events=[event(**fields), event()])
    assert (answer["0"], answer["1"]) == ("rejected", "accepted")
    assert answer["0.reason"].startswith(name)


def test_a_bulk(client: Flexprice) -> None:
    events = [event() for _ in range(1000)]
    first = client.events.ingest_events_bulk(events=events, timeout_ms=60_000)
    assert (first["message"], first["accepted"]) == ("Events accepted for processing", "1000")
    assert [first[str(place)] for place in range(1000)] == ["accepted"] * 1000
    mixed = [event(), events[5], events[6] | {"event_name": "tokens"}, events[5], event(event_id="")]
    second = client.events.ingest_events_bulk(events=mixed)
    assert [second[str(place)] for place in range(5)] == [
        "accepted",
        "duplicate",
        "conflict",
        "duplicate",
        "accepted",
    ]
    assert str(UUID(second["4.event_id"])) == second["4.event_id"]


@pytest.mark.parametrize("count", [0, 1001])
def test_bulks_of_no_size(client: Flexprice, count: int) -> None:
    with pytest.raises(errors.ErrorResponse) as refused:
        client.events.ingest_events_bulk(events=[event()] * count)
    assert details(refused.value) == {"events"}


def test_a_key_without_the_scope(api: Stack) -> None:
    with Flexprice(server_url=f"{api.base_url}/v1", api_key_auth=api.scoped_keys[Scope.INGEST]) as sender:
        assert sender.events.ingest_event(**event())
    with (
        Flexprice(server_url=f"{api.base_url}/v1", api_key_auth=api.scoped_keys[Scope.READ]) as reader,
        pytest.raises(errors.FlexpriceDefaultError) as refused,
    ):
        reader.events.ingest_event(**event())
    assert refused.value.status_code == 403
    assert "This key does not have the scope 'ingest'" in refused.value.body


def test_bad_keys(api: Stack) -> None:
    for key in ("wrong", api.revoked_key):
        with (
            Flexprice(server_url=f"{api.base_url}/v1", api_key_auth=key) as client,
            pytest.raises(errors.FlexpriceDefaultError) as refused,
        ):
            client.events.ingest_event(**event())
        assert (refused.value.status_code, refused.value.body) == (401, '{"error":"Unauthorized"}')


@pytest.mark.parametrize(
    ("fields", "unmatched"),
    [
        pytest.param({"external_customer_id": "acme"}, "0=time", id="long before any subscription"),
        pytest.param(
            {"external_customer_id": "acme", "event_name": "unheard"}, "0=time", id="the first reason alone"
        ),
        pytest.param({}, "0=customer", id="customer"),
        pytest.param(
            {"external_customer_id": "stranger"}, "0=customer", id="another organization's customer"
        ),
    ],
)
def test_what_the_catalogue_does_not_know_is_said_in_headers(
    api: Stack, fields: dict[str, str], unmatched: str | None
) -> None:
    # Long before any subscription: nobody's usage grows by it.
    body = event(timestamp="2001-01-01T00:00:00Z") | fields
    answer = httpx.post(f"{api.base_url}/v1/events", json=body, headers={"x-api-key": api.key}, timeout=10)
    assert answer.status_code == 202
    assert answer.headers.get("x-meterstone-unmatched") == unmatched
