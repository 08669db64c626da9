"""Which page of which records a list of Lago's asks for."""

import pytest

from meterstone.contracts import lago_customers, lago_pages, lago_subscriptions
from meterstone.contracts.lago_subscription_answers import Status
from support.lago import details, request


def test_a_list_is_of_active_ones_unless_it_says_others() -> None:
    plain = lago_subscriptions.parse_list(request())
    assert (plain.page, plain.statuses, plain.filters) == (
        lago_pages.PageAsked(1, 100),
        frozenset({Status.ACTIVE}),
        True,
    )
    asked = lago_subscriptions.parse_list(
        request(
            parameters={
                "status[]": ["pending", "active"],
                "external_customer_id": ["acme"],
                "plan_code": ["team"],
                "currency": ["EUR"],
                "page": ["2"],
                "per_page": ["7"],
            }
        )
    )
    assert (asked.page, asked.statuses) == (
        lago_pages.PageAsked(2, 7),
        frozenset({Status.PENDING, Status.ACTIVE}),
    )
    assert (asked.customer_id, asked.plan_code, asked.currency, asked.external_id) == (
        "acme",
        "team",
        "eur",
        None,
    )
    every = lago_subscriptions.parse_list(request(parameters={"status[]": list(Status)}))
    assert not every.filters


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param(
            {"page": ["0"], "per_page": ["101"], "status[]": ["x"], "plan_code": [""]},
            {
                "page": ["value_is_out_of_range"],
                "per_page": ["value_is_out_of_range"],
                "plan_code": ["value_is_mandatory"],
                "status": ["value_is_invalid"],
            },
            id="every one at once",
        ),
        pytest.param({"page": ["9" * 5000]}, {"page": ["value_is_out_of_range"]}, id="page huge"),
        pytest.param({"page": ["1", "2"]}, {"page": ["value_is_invalid"]}, id="page repeated"),
        pytest.param({"external_id[]": ["a"]}, {"external_id": ["value_is_invalid"]}, id="a list of ids"),
        pytest.param({"currency": ["EURO"]}, {"currency": ["value_is_invalid"]}, id="currency"),
        pytest.param(
            {"billing_entity_codes[]": ["a"], "overridden": ["true"]},
            {
                "billing_entity_codes": ["value_is_invalid", "not_supported"],
                "overridden": ["value_is_invalid", "not_supported"],
            },
            id="filters that Lago has",
        ),
    ],
)
def test_bad_parameters_of_lists(parameters: dict[str, list[str]], expected: dict[str, list[str]]) -> None:
    assert details(lambda: lago_subscriptions.parse_list(request(parameters=parameters))) == expected


def test_customers_are_not_filtered() -> None:
    assert lago_customers.parse_list(request(parameters={"page": ["3"], "colour": ["red"]})) == (3, 100)
    found = details(
        lambda: lago_customers.parse_list(request(parameters={"search_term": ["a"], "page": ["x"]}))
    )
    assert found == {"page": ["value_is_invalid"], "search_term": ["value_is_invalid", "not_supported"]}
