"""The function that manages the catalogue, called over a table in memory: by one caller, or by two at once."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from meterstone import clock
from meterstone.catalogue.management import Management
from meterstone.store.catalogue.api_keys import create_key
from support.functions import forget_logger, load_over
from support.managed import NOW, interleavings, managed, table_of
from support.scenario import ORGANIZATION

#: A request of a contract, by its method, path and body: its status, and its body decoded.
type Call = Callable[..., tuple[int, Any]]
type Writer = Callable[[Call], tuple[int, Any]]


def with_plans_of_calls() -> Management:
    """Make a catalogue with two plans more, without a recurring meter, whose usage time alone changes."""
    management = managed(clock=lambda: clock.now())  # noqa: PLW0108 - a test may set another clock
    management.put("plan", "calls", {"prices": ["call"]})
    management.put("plan", "dear", {"prices": ["dear call"]})
    return management


def invoker(
    management: Management, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[[Mapping[str, Any]], tuple[int, Any]], str]:
    """Load the function over a catalogue. Give what it answers an event with, and a key of the organization's."""
    table = table_of(management)
    key, _ = create_key(table, ORGANIZATION.id, "calls", NOW)
    forget_logger("meterstone")
    handler = load_over("manage_catalogue", table, monkeypatch).handler

    def invoke(event: Mapping[str, Any]) -> tuple[int, Any]:
        reply = handler(event, None)
        return reply["statusCode"], json.loads(reply["body"]) if reply["body"] else None

    return invoke, key


def races(
    calls: Callable[[Management], Call], prepare: Callable[[Call], object], first: Writer, second: Writer
) -> Iterator[tuple[Call, list[tuple[int, Any]]]]:
    """Let a second request go all the way before each read and write of the first one.

    `calls` gives what calls the API over a catalogue. Yields that, and the answers to both requests.
    """
    api: dict[Management, Call] = {}

    def make() -> Management:
        management = with_plans_of_calls()
        api[management] = calls(management)
        prepare(api[management])
        return management

    for management, outcomes in interleavings(
        make, lambda each: first(api[each]), lambda each: second(api[each])
    ):
        found: list[Any] = outcomes
        yield api[management], found
