"""Lago's own Python client, as its users have it, sends events."""

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest
from lago_python_client.client import Client
from lago_python_client.exceptions import LagoApiError
from lago_python_client.models.event import BatchEvent, Event

from meterstone import clock
from meterstone.scope import Scope
from meterstone.usage.instant import MINUTE, parse_instant
from support.stack import Stack

# The client builds on pydantic's first API and on libraries that warn of their own future.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def client(api: Stack) -> Client:
    return Client(api_key=api.key, api_url=f"{api.base_url}/")


# In a subscription that no other test asks for: what is counted stays.
def event(identity: str | None = None, **fields: Any) -> Event:
    given: dict[str, Any] = {
        "transaction_id": identity or str(uuid4()),
        "external_subscription_id": f"nobody-{uuid4()}",
        "code": "api_calls",
        "timestamp": 1_700_000_000,
    }
    return Event(**(given | fields))


def refusal(call: Callable[[], object]) -> tuple[int, Any]:
    with pytest.raises(LagoApiError) as refused:
        call()
    response: Any = refused.value.response
    return refused.value.status_code, response.get("error_details", response)


def test_an_event(client: Client) -> None:
    sent = event(timestamp="1700000000.25", properties={"model": "large", "n": 1.5, "deep": {"a": [None]}})
    answer = client.events.create(sent)
    assert answer is not None
    found = answer.dict()
    assert UUID(found.pop("lago_id")).version == UUID(found.pop("lago_subscription_id")).version == 5
    assert found.pop("created_at").startswith("20")
    assert found == {
        "transaction_id": sent.transaction_id,
        "lago_customer_id": None,
        "external_subscription_id": sent.external_subscription_id,
        "code": "api_calls",
        "timestamp": "2023-11-14T22:13:20.250Z",
        "precise_total_amount_cents": None,
        "properties": {"model": "large", "n": 1.5, "deep": {"a": [None]}},
    }


def test_what_may_be_left_out(client: Client) -> None:
    """The client sends nulls for it."""
    answer = client.events.create(event(timestamp=None))
    assert answer is not None
    assert answer.properties == {}
    assert abs(parse_instant(answer.timestamp) - clock.now()) < MINUTE


def test_an_event_of_the_same_id(client: Client) -> None:
    first = event(timestamp=None)
    client.events.create(first)
    assert refusal(lambda: client.events.create(first)) == (422, {"transaction_id": ["value_already_exist"]})
    other = first.copy(update={"code": "tokens"})
    assert refusal(lambda: client.events.create(other)) == (422, {"transaction_id": ["conflict"]})


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        pytest.param({"timestamp": "2024-01-01T00:00:00Z"}, {"timestamp": ["invalid_format"]}, id="date"),
        pytest.param({"timestamp": 4_102_444_800}, {"timestamp": ["value_is_out_of_range"]}, id="ahead"),
        pytest.param({"code": ""}, {"code": ["value_is_mandatory"]}, id="no code"),
        pytest.param({"code": "x" * 256}, {"code": ["value_is_too_long"]}, id="long code"),
        pytest.param({"properties": {"n": 1e300}}, {"properties": ["value_is_invalid"]}, id="huge number"),
        pytest.param(
            {"properties": {"n": "x" * 70_000}}, {"properties": ["value_is_too_long"]}, id="huge event"
        ),
    ],
)
def test_bad_events(client: Client, fields: dict[str, Any], details: dict[str, Any]) -> None:
    assert refusal(lambda: client.events.create(event(**fields))) == (422, details)
    batch = BatchEvent(events=[event(), event(**fields)])
    assert refusal(lambda: client.events.batch_create(batch)) == (422, {"1": details})


def test_a_batch(client: Client) -> None:
    events = [event() for _ in range(100)]
    client.events.batch_create(BatchEvent(events=events))
    again = {"transaction_id": ["value_already_exist"]}
    assert refusal(lambda: client.events.create(events[42])) == (422, again)
    some = BatchEvent(events=[event(), events[7], event()])
    assert refusal(lambda: client.events.batch_create(some)) == (422, {"1": again})
    # Nothing of that batch was stored: what was new in it still is.
    client.events.create(some.events[0])
    client.events.batch_create(BatchEvent(events=[some.events[2]]))


@pytest.mark.parametrize(("count", "code"), [(0, "no_events"), (101, "too_many_events")])
def test_batches_of_no_size(client: Client, count: int, code: str) -> None:
    batch = BatchEvent(events=[event() for _ in range(count)])
    assert refusal(lambda: client.events.batch_create(batch)) == (422, {"events": [code]})


def test_bad_keys(api: Stack) -> None:
    for key in ("wrong", api.revoked_key):
        client = Client(api_key=key, api_url=f"{api.base_url}/")
        unauthorized = (401, {"status": 401, "error": "Unauthorized"})
        assert refusal(lambda client=client: client.events.create(event())) == unauthorized  # type: ignore[misc]


def test_a_key_without_the_scope(api: Stack) -> None:
    sender = Client(api_key=api.scoped_keys[Scope.INGEST], api_url=f"{api.base_url}/")
    assert sender.events.create(event())
    reader = Client(api_key=api.scoped_keys[Scope.READ], api_url=f"{api.base_url}/")
    assert refusal(lambda: reader.events.create(event())) == (403, {"scope": ["ingest"]})


def test_organizations_have_their_own_ids(api: Stack, client: Client) -> None:
    sent = event()
    one = client.events.create(sent)
    other = Client(api_key=api.other_key, api_url=f"{api.base_url}/").events.create(sent)
    assert one is not None
    assert other is not None
    assert one.lago_id != other.lago_id


def find(client: Client, identity: str) -> Any:
    events: Any = client.events  # Its types do not say that events can be found.
    return events.find(identity)


def test_an_event_is_found(client: Client) -> None:
    sent = event(f"found/{uuid4()} é", timestamp="1700000000.25", properties={"n": 1.5})
    client.events.create(sent)
    # It is of nobody whom the catalogue knows: that has to be said.
    with pytest.raises(LagoApiError) as refused:
        find(client, sent.transaction_id)
    assert refused.value.status_code == 404
    known = event(str(uuid4()), external_subscription_id="acme-main", code="unheard")
    client.events.create(known)
    found = find(client, known.transaction_id)
    assert found.dict() | {"lago_id": None, "lago_subscription_id": None, "created_at": None} == {
        "lago_id": None,
        "transaction_id": known.transaction_id,
        "lago_customer_id": None,
        "lago_subscription_id": None,
        "external_subscription_id": "acme-main",
        "code": "unheard",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "precise_total_amount_cents": None,
        "properties": {},
        "created_at": None,
    }


def test_an_event_that_there_is_not_is_not_found(client: Client) -> None:
    with pytest.raises(LagoApiError) as refused:
        find(client, str(uuid4()))
    assert (refused.value.status_code, refused.value.response) == (404, {"status": 404, "error": "Not Found"})


def test_what_is_beside_lago_s_event(api: Stack) -> None:
    """An id may have a slash and letters beyond ASCII: it is encoded in the path."""
    client = Client(api_key=api.key, api_url=f"{api.base_url}/")
    # The emulator to which the template is deployed parts a path at an encoded slash, too.
    slash = "-" if "METERSTONE_API_URL" in os.environ else "/"
    sent = event(f"found{slash}{uuid4()} é", properties={"n": 1.5})
    client.events.create(sent)
    answer = httpx.get(
        f"{api.base_url}/api/v1/events/{quote(sent.transaction_id, safe='')}",
        params={"external_subscription_id": sent.external_subscription_id},
        headers={"Authorization": f"Bearer {api.key}"},
        timeout=10,
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()["event"]
    assert (told["transaction_id"], told["properties"]) == (sent.transaction_id, {"n": 1.5})
    assert told["meterstone"] == {
        "state": "not_counted",
        "counts": [],
        "not_counted": [{"reason": "subscription"}],
    }
