"""The views of the rollups: to which of them a charge is added, and which one answers a filter."""

import pytest

from meterstone.store.dynamodb import keys
from meterstone.usage.charge import Dimensions


@pytest.mark.parametrize(
    ("dimensions", "views"),
    [
        pytest.param(
            Dimensions("pro", "DE", "company"),
            [("T", ()), ("P", ("pro",)), ("C", ("DE",)), ("PC", ("pro", "DE"))],
            id="plan and country",
        ),
        pytest.param(Dimensions("pro", None, "company"), [("T", ()), ("P", ("pro",))], id="a plan alone"),
        pytest.param(Dimensions(None, "DE", None), [("T", ()), ("C", ("DE",))], id="a country alone"),
        pytest.param(Dimensions(None, None, "company"), [("T", ())], id="a type, which has no view"),
        pytest.param(Dimensions(None, None, None), [("T", ())], id="nothing is known"),
        pytest.param(Dimensions("", None, None), [("T", ()), ("P", ("",))], id="an empty plan is one"),
    ],
)
def test_a_charge_is_in_the_views_of_what_is_known_of_it(
    dimensions: Dimensions, views: list[tuple[str, tuple[str, ...]]]
) -> None:
    assert keys.views(dimensions) == views
    assert keys.view_of(dimensions) == views[-1], "a filter on the same is answered by the finest"


@pytest.mark.parametrize(
    ("view", "values", "partition"),
    [
        ("T", (), "org#1#rollup#T"),
        ("P", ("pro",), "org#1#rollup#P#pro"),
        ("PC", ("pro", "DE"), "org#1#rollup#PC#pro#DE"),
        pytest.param("P", ("a#b",), "org#1#rollup#P#a%23b", id="a separator in a plan's code"),
    ],
)
def test_a_view_s_values_have_a_partition(view: str, values: tuple[str, ...], partition: str) -> None:
    assert keys.rollup_partition("org", "1", view, values) == partition
