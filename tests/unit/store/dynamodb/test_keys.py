"""Keys are read back as they were made, whatever ids they are made of, and nobody else reads them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Kind, RollupKey, ValueKey, part
from meterstone.usage.instant import END_OF_TIME, ZERO_TIME, key_instant
from meterstone.usage.tally import TallyKey

ROOT = Path(__file__).resolve().parents[4]
OWNER = ROOT / "layers/meterstone/meterstone/store/dynamodb/keys.py"
MODULES = [
    path
    for folder in ("layers/meterstone/meterstone", "cli/meterstone_cli", "functions")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != OWNER
]

ids = st.text("ab#%~$é\U0001f600", min_size=1, max_size=4) | st.integers(60, 70).map("x".__mul__)
instants = st.integers(ZERO_TIME, END_OF_TIME - 1)
days = st.dates().map(lambda day: day.toordinal())
chunks = st.integers(0, 99_999)
cadences = st.sampled_from(["MONTHLY-1", "WEEKLY-2"])
letters = st.text("abc", min_size=1, max_size=3)


@given(cadences, instants, ids, chunks, ids)
def test_a_counter_s_chunk_is_read_back(cadence: str, start: int, item: str, chunk: int, other: str) -> None:
    sk = keys.counter(cadence, start, item, chunk)

    assert keys.parse_counter(sk) == (keys.counter_name(cadence, start, item), chunk)
    assert sk.startswith(keys.counter_chunks(cadence, start, other)) == (item == other)
    assert keys.parse_usage_kind(sk) == Kind.COUNTER


@given(ids, instants, days, ids)
def test_a_value_of_a_day_is_read_back(item: str, start: int, day: int, text: str) -> None:
    sk = keys.value(item, start, day, text)

    assert keys.parse_value(sk) == ValueKey(part(item), day, key_instant(start), part(text))
    assert keys.parse_usage_kind(sk) == Kind.VALUE


@given(ids, ids, st.tuples(days, days, days))
def test_a_range_of_days_has_the_values_of_its_days(
    item: str, text: str, ordinals: tuple[int, int, int]
) -> None:
    first, day, last = ordinals
    low, high = keys.values_of_days(item, first, last)

    assert (low <= keys.value(item, 0, day, text) <= high) == (first <= day <= last)


@given(ids, ids, ids, instants)
def test_when_a_value_was_first_seen_is_read_back(
    subscription: str, item: str, text: str, start: int
) -> None:
    for tally in (TallyKey(subscription, "meter", item, start), TallyKey(subscription, item, None, 0)):
        sk = keys.first_seen(tally, part(text))

        assert keys.parse_first_seen(sk) == part(text)
        assert sk.startswith(keys.first_scope(tally))
        assert keys.parse_usage_kind(sk) == Kind.FIRST_SEEN


@given(days, letters, ids, st.none() | ids, st.integers(0, 3))
def test_a_rollup_is_read_back(day: int, currency: str, meter: str, kind: str | None, writer: int) -> None:
    month = keys.month_of(day)
    sk = keys.rollup(month, currency, meter, kind, writer)

    assert keys.parse_rollup(sk) == RollupKey(month, currency, part(meter), keys.type_part(kind), str(writer))
    assert {
        keys.rollup_of_all_writers(keys.rollup(month, currency, meter, kind, each)) for each in range(4)
    } == {keys.rollup_of_all_writers(sk)}


@given(st.tuples(days, days, days), ids)
def test_a_range_of_months_has_the_rollups_of_its_months(ordinals: tuple[int, int, int], meter: str) -> None:
    first, day, last = ordinals
    low, high = keys.months(first, last)
    sk = keys.rollup(keys.month_of(day), "usd", meter, None, 0)

    assert (low <= sk <= high) == (keys.month_of(first) <= keys.month_of(day) <= keys.month_of(last))


@pytest.mark.parametrize(
    ("sk", "kind"),
    [
        pytest.param(keys.counter("MONTHLY-1", 0, "i", 0), Kind.COUNTER, id="counter"),
        pytest.param(keys.chain("m"), Kind.CHAIN, id="chain"),
        pytest.param(keys.hours("i", 0, 1), Kind.HOURS, id="hours"),
        pytest.param(keys.buckets("i", 0, 1), Kind.BUCKETS, id="buckets"),
        pytest.param(keys.detail("i", 0, "hour", "s1", 1, 0), Kind.DETAIL, id="detail"),
        pytest.param(keys.first_seen(TallyKey("s", "m", "i", 0), "v"), Kind.FIRST_SEEN, id="first seen"),
        pytest.param(keys.value("i", 0, 1, "v"), Kind.VALUE, id="value"),
    ],
)
def test_a_sort_key_tells_what_its_item_is(sk: str, kind: Kind) -> None:
    assert keys.parse_usage_kind(sk) == kind
    for each in Kind:
        low, high = keys.range_of(keys.usage_kind(each))
        assert (low <= sk <= high) == (each is kind)


@given(letters, ids, letters)
def test_a_catalogue_entry_s_kind_is_read_back(kind: str, name: str, other: str) -> None:
    key = keys.catalogue("org", kind, name)
    pk, prefix = keys.catalogue_kind("org", other)

    assert keys.parse_catalogue_kind(key.sk) == kind
    assert key.pk == pk
    assert key.sk.startswith(prefix) == (kind == other)


@given(ids, ids, ids)
def test_an_unmatched_event_is_found_under_its_subject(
    external_id: str, other: str, transaction_id: str
) -> None:
    key = keys.unmatched("org", "s", external_id, transaction_id)
    pk, prefix = keys.unmatched_of("org", "s", other)
    low, high = keys.range_of(prefix)

    assert key.pk == pk
    assert (low <= key.sk <= high) == (external_id == other)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_makes_or_reads_a_key(path: Path) -> None:
    tree = ast.parse(path.read_text())

    assert [f"line {line}" for line in _separators(tree)] == []
    assert [f"line {line}" for line in _slices(tree)] == []


@pytest.mark.parametrize(
    "code",
    ['sk.split("#")', 'sk.partition("#")[0]', 'f"C#{name}"', 'query(pk, "subscription#")'],
)
def test_the_separator_is_noticed(code: str) -> None:
    assert list(_separators(ast.parse(code))) == [1]


@pytest.mark.parametrize("code", ["sk[:-5]", "row_key.sk[len(scope) :]", "counter_key(charge, 0)[:-DIGITS]"])
def test_a_slice_of_a_key_is_noticed(code: str) -> None:
    assert list(_slices(ast.parse(code))) == [1]


def _separators(tree: ast.Module) -> Iterator[int]:
    """Name the lines of texts with the separator of keys, but for docstrings and other texts that stand alone."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if "#" in text and id(node) not in alone:
                yield node.lineno
            case _:
                pass


def _slices(tree: ast.Module) -> Iterator[int]:
    """Name the lines that slice what is called a key."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=value, slice=ast.Slice()) if _last_name(value) in _NAMES or (
                _last_name(value).endswith("_key")
            ):
                yield node.lineno
            case _:
                pass


_NAMES = {"sk", "pk", "key"}


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Call(func=function):
            return _last_name(function)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
