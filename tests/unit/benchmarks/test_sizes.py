"""Item sizes and read units, against the rules of the developer guide."""

import pytest
from benchmarks.sizes import get_units, item_size, number_size, query_units

KB = 1024


@pytest.mark.parametrize(
    ("text", "size"),
    [
        pytest.param("0", 1, id="zero has no significant digits"),
        pytest.param("7", 2, id="one digit takes the byte of two"),
        pytest.param("42", 2, id="two digits"),
        pytest.param("421", 3, id="three digits"),
        pytest.param("4200000", 2, id="trailing zeros are trimmed"),
        pytest.param("0.00042", 2, id="leading zeros are trimmed"),
        pytest.param("10.01", 3, id="zeros between digits count"),
        pytest.param("-42", 2, id="the sign takes nothing"),
        pytest.param("4.2E+30", 2, id="an exponent takes nothing"),
        pytest.param("9" * 38, 20, id="38 digits"),
    ],
)
def test_numbers(text: str, size: int) -> None:
    assert number_size(text) == size


def test_an_item_is_its_names_and_values() -> None:
    item = {"pk": {"S": "org#café"}, "sk": {"S": ""}, "u01": {"N": "1234"}}
    assert item_size(item) == (2 + 9) + (2 + 0) + (3 + 3)


def test_names_are_measured_in_utf_8() -> None:
    assert item_size({"größe": {"N": "0"}}) == 7 + 1


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="attribute m"):
        item_size({"m": {"BOOL": "true"}})


def of(size: int) -> dict[str, dict[str, str]]:
    return {"x": {"S": "x" * (size - 1)}}


@pytest.mark.parametrize(
    ("sizes", "units"),
    [
        pytest.param([], 0.5, id="a page of nothing"),
        pytest.param([1], 0.5, id="one byte"),
        pytest.param([4 * KB], 0.5, id="4 KB"),
        pytest.param([4 * KB + 1], 1.0, id="a byte more"),
        pytest.param([KB] * 8, 1.0, id="8 items of 1 KB are 8 KB together"),
    ],
)
def test_a_page_costs_its_bytes_together(sizes: list[int], units: float) -> None:
    assert query_units(of(size) for size in sizes) == units


@pytest.mark.parametrize(
    ("size", "units"),
    [pytest.param(1, 0.5, id="one byte"), pytest.param(9 * KB, 1.5, id="9 KB begin a third 4 KB")],
)
def test_a_get_costs_its_item(size: int, units: float) -> None:
    assert get_units(of(size)) == units


def test_what_does_not_exist_costs_as_much_as_the_smallest() -> None:
    assert get_units(None) == 0.5
