"""The reference of a catalogue's fields and its JSON Schemas: what is committed, and what a schema takes."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from pydantic import ValidationError

from catalogue_reference import ROOT, files, schema_of
from meterstone.catalogue.reading import KINDS
from meterstone_cli.catalogue import read_catalogue
from meterstone_cli.catalogue.document import SUFFIXES, parse_yaml, read_document

MODELINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")
FOLDERS = sorted(
    path.parent
    for where in ("examples", "tests")
    for path in (ROOT / where).rglob("organization.*")
    if path.suffix in SUFFIXES
)
EXAMPLES = sorted(path for path in ROOT.glob("examples/*/catalogue/**/*") if path.suffix in SUFFIXES)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def validator(kind: str) -> Draft7Validator:
    schema = schema_of(kind)
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def kind_of(path: Path) -> str:
    return path.stem if path.stem in KINDS else path.parent.name


def taken_by_the_schema(kind: str, record: Any) -> bool:
    return bool(validator(kind).is_valid(record if kind == "organization" else [record]))


def taken_by_the_model(kind: str, record: Any) -> bool:
    try:
        KINDS[kind].model_validate(record)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("path", files(), ids=name)
def test_a_committed_file_is_what_the_models_say(path: Path) -> None:
    assert path.read_text() == files()[path], "run `make catalogue-reference`"


def test_no_schema_is_left_of_a_kind_that_is_gone() -> None:
    assert set((ROOT / "docs" / "catalogue").iterdir()) == set(files()) - {ROOT / "docs" / "catalogue.md"}


def test_every_field_of_every_record_is_described() -> None:
    def nameless(schema: Any, path: str) -> Iterator[str]:
        for field, inner in schema.get("properties", {}).items():
            if not inner.get("description"):
                yield f"{path}.{field}"

    found = [
        field
        for kind in KINDS
        for part, schema in {kind: schema_of(kind), **schema_of(kind).get("$defs", {})}.items()
        for field in nameless(schema, part)
    ]
    assert not found


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_in_the_reference_are_records(kind: str) -> None:
    text = (ROOT / "docs" / "catalogue.md").read_text()
    section = text.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)

    assert blocks
    for block in blocks:
        document = parse_yaml(block)
        for record in [document] if isinstance(document, dict) else document or []:  # type: ignore[union-attr]
            KINDS[kind].model_validate(record)
            assert taken_by_the_schema(kind, record)


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_a_schema_takes_every_catalogue_of_the_examples_and_tests(folder: Path) -> None:
    read_catalogue(folder)
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES:
            errors = [error.message for error in validator(kind_of(path)).iter_errors(read_document(path))]
            assert not errors, path


@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_an_example_names_its_schema(path: Path) -> None:
    found = MODELINE.match(path.read_text())
    assert found is not None
    schema = (path.parent / found[1]).resolve()
    assert schema == ROOT / "docs" / "catalogue" / f"{kind_of(path)}.schema.json"
    assert schema.is_file()


def mistyped(value: Any) -> Iterator[Any]:
    """Give a value with one of its keys, at any depth, mistyped."""
    if isinstance(value, list):
        for index, inner in enumerate(value):
            for wrong in mistyped(inner):
                yield [*value[:index], wrong, *value[index + 1 :]]
    elif isinstance(value, dict):
        for key, inner in value.items():
            others = {other: each for other, each in value.items() if other != key}
            yield {**others, key + "x": inner}
            if key not in {"filters", "metadata"}:
                for wrong in mistyped(inner):
                    yield {**others, key: wrong}


@pytest.mark.parametrize("path", EXAMPLES, ids=name)
def test_a_mistyped_field_of_an_example_is_refused_by_schema_and_model(path: Path) -> None:
    document = read_document(path)
    records = document if isinstance(document, list) else [document]
    kind = kind_of(path)
    # Of records that have the same fields one is enough.
    different = {json.dumps(record, default=lambda _: 0): record for record in records[:6]}
    for record in different.values():
        for wrong in mistyped(copy.deepcopy(record)):
            assert not taken_by_the_model(kind, wrong), wrong
            assert not taken_by_the_schema(kind, wrong), wrong


PRICE = {"id": "x", "currency": "eur", "billing_model": "FLAT_FEE", "meter_id": "m"}
SUBSCRIPTION = {"id": "s", "customer": "c", "plan": "p", "currency": "eur", "start": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("kind", "record", "taken"),
    [
        ("organization", {"id": "5D1F3A52-8F0E-4B8E-9A53-0B7B0A6F1C11"}, True),
        ("organization", {"id": "acme"}, False),
        ("plans", {"code": ""}, False),
        ("plans", {"code": " a"}, False),
        ("plans", {"code": "a" * 256}, False),
        ("plans", {"code": "Überplan 1"}, True),
        ("plans", {"code": "a\tb"}, False),
        ("plans", {"code": "a", "name": "two\nlines"}, True),
        ("plans", {"code": "a", "name": "bell\u0007"}, False),
        ("plans", {"code": 5}, False),
        ("plans", {"name": "no code"}, False),
        ("plans", {"code": "a", "name": None}, False),
        ("customers", {"id": "c", "timezone": None}, True),
        ("customers", {"id": "c", "country": "no"}, True),
        ("customers", {"id": "c", "country": "NOR"}, False),
        ("customers", {"id": "c", "country": "XX"}, False),
        ("customers", {"id": "c", "country": []}, False),
        ("customers", {"id": "c", "country": [{"value": "NO"}]}, True),
        ("customers", {"id": "c", "country": [{"since": "2026-01-01T00:00:00Z"}]}, False),
        ("customers", {"id": "c", "customer_type": "Company"}, True),
        ("customers", {"id": "c", "customer_type": "firm"}, False),
        ("meters", {"id": "m", "code": "m", "aggregation": "count"}, True),
        ("meters", {"id": "m", "code": "m", "aggregation": "COUNTS"}, False),
        (
            "meters",
            {"id": "m", "code": "m", "aggregation": "SUM", "field": "n", "bucket_size": "15min"},
            True,
        ),
        ("meters", {"id": "m", "code": "m", "aggregation": "SUM", "field": "n", "recurring": "yes"}, False),
        ("meters", {"id": "m", "code": "m", "aggregation": "COUNT", "filters": {"k": ["a", 1, True]}}, True),
        ("meters", {"id": "m", "code": "m", "aggregation": "COUNT", "filters": {"k": [None]}}, False),
        ("meters", {"id": "m", "code": "m", "aggregation": "COUNT", "filters": {"k": "a"}}, False),
        ("prices", {**PRICE, "amount": Decimal("0.1")}, True),
        ("prices", {**PRICE, "amount": "0.10"}, True),
        ("prices", {**PRICE, "amount": "1e-7"}, True),
        ("prices", {**PRICE, "amount": "0,10"}, False),
        ("prices", {**PRICE, "amount": " 1"}, False),
        ("prices", {**PRICE, "amount": 10**12}, False),
        ("prices", {**PRICE, "amount": "1000000000000"}, False),
        ("prices", {**PRICE, "amount": "000000000001"}, True),
        ("prices", {**PRICE, "amount": True}, False),
        ("prices", {**PRICE, "currency": "XXX"}, False),
        ("prices", {**PRICE, "currency": "Eur"}, True),
        ("prices", {**PRICE, "billing_model": "flat_fee", "type": "usage"}, True),
        ("prices", {**PRICE, "billing_model": "flat fee"}, False),
        ("prices", {**PRICE, "tiers": [{"unit_amount": 1}]}, False),
        ("prices", {**PRICE, "tiers": [{"up_to": None, "unit_amount": 1}]}, True),
        ("prices", {**PRICE, "tiers": [{"up_to": "5", "unit_amount": 1}]}, False),
        ("prices", {**PRICE, "transform_quantity": {"divide_by": 5, "round": "DOWN"}}, True),
        ("prices", {**PRICE, "metadata": {"a": "b"}}, True),
        ("prices", {**PRICE, "metadata": {"a": 1}}, False),
        ("prices", {**PRICE, "trial_period_days": -1}, False),
        ("prices", {**PRICE, "status": "PUBLISHED", "invoice_cadence": "arrear"}, True),
        ("subscriptions", SUBSCRIPTION, True),
        ("subscriptions", {**SUBSCRIPTION, "start": "2026-01-01"}, False),
        ("subscriptions", {**SUBSCRIPTION, "start": "2026-01-01 00:00:00+01:00"}, True),
        ("subscriptions", {**SUBSCRIPTION, "start": "2026-01-01T24:00:00Z"}, False),
        ("subscriptions", {**SUBSCRIPTION, "billing_period": "monthly", "billing_cycle": "CALENDAR"}, True),
        ("subscriptions", {**SUBSCRIPTION, "billing_period": "month"}, False),
        ("subscriptions", {**SUBSCRIPTION, "billing_period_count": 0}, False),
        ("subscriptions", {**SUBSCRIPTION, "billing_period_count": 10_001}, False),
        (
            "subscriptions",
            {**SUBSCRIPTION, "commitment": {"amount": 1, "overage_factor": 2, "split": "AMOUNT"}},
            True,
        ),
        ("subscriptions", {**SUBSCRIPTION, "commitment": {"amount": -1, "overage_factor": 2}}, False),
        ("subscriptions", {**SUBSCRIPTION, "commitment": {"amount": 1}}, False),
        (
            "subscriptions",
            {**SUBSCRIPTION, "plan": [{"value": "p"}, {"value": "q", "since": "2026-02-01T00:00:00Z"}]},
            True,
        ),
        ("subscriptions", {**SUBSCRIPTION, "line_items": [{"price": "x", "end": None}]}, True),
        ("subscriptions", {**SUBSCRIPTION, "line_items": {"price": "x"}}, False),
    ],
)
def test_a_schema_takes_what_the_model_takes(kind: str, record: dict[str, Any], taken: bool) -> None:  # noqa: FBT001
    assert taken_by_the_model(kind, record) is taken
    assert taken_by_the_schema(kind, record) is taken


def choices(schema: Any) -> Iterator[tuple[str, str]]:
    """Give each value that a record's fields may have, with the field's name."""
    for field, inner in schema.get("properties", {}).items():
        for found in re.findall(r'"enum": (\[.*?\])', json.dumps(inner)):
            yield from ((field, value) for value in json.loads(found))


def test_every_value_of_a_closed_set_is_offered_and_taken_in_either_case() -> None:
    sets: dict[str, set[str]] = {}
    for kind in KINDS:
        for schema in (schema_of(kind), *schema_of(kind).get("$defs", {}).values()):
            for field, value in choices(schema):
                sets.setdefault(field, set()).add(value)

    assert sorted(sets) == [
        *(
            "aggregation",
            "billing_cadence",
            "billing_cycle",
            "billing_model",
            "billing_period",
            "bucket_size",
        ),
        *(
            "country",
            "currency",
            "customer_type",
            "entity_type",
            "invoice_cadence",
            "price_unit_type",
            "round",
        ),
        *("split", "status", "tier_mode", "type"),
    ]


def respelled(change: Callable[[str], str], found: re.Match[str]) -> str:
    return change(found[0])


@pytest.mark.parametrize("change", [str.upper, str.lower, str.title], ids=["upper", "lower", "title"])
def test_a_catalogue_in_another_case_is_the_same_catalogue(tmp_path: Path, change: Any) -> None:
    texts = {
        "meters": "- {id: peak, code: peak, aggregation: MAX, field: n, bucket_size: 15MIN}",
        "prices": "- {id: p, currency: EUR, billing_model: TIERED, type: USAGE, meter_id: peak, tier_mode: SLAB, "
        "billing_period: ANNUAL, tiers: [{up_to: null, unit_amount: 1}], billing_cadence: RECURRING, "
        "invoice_cadence: ARREAR, entity_type: PLAN, status: published, price_unit_type: FIAT, "
        "transform_quantity: {divide_by: 2, round: down}}",
        "customers": "- {id: c, country: NO, customer_type: company}",
        "plans": "- {code: basic}",
        "organization": "id: 6f9e0e0e-0000-4000-8000-000000000001",
        "subscriptions": "- {id: s, customer: c, plan: basic, currency: EUR, start: 2026-01-01T00:00:00Z, "
        "billing_period: HALF_YEARLY, billing_cycle: anniversary, line_items: [{price: p}], "
        "commitment: {amount: 1, overage_factor: 2, split: whole_units}}",
    }
    values = (
        r"(?<=: )(MAX|15MIN|EUR|TIERED|USAGE|SLAB|ANNUAL|RECURRING|ARREAR|PLAN|published|FIAT|down|NO|company|"
        r"HALF_YEARLY|anniversary|whole_units)\b"
    )
    catalogues = []
    for folder, spelled in ((tmp_path / "a", str), (tmp_path / "b", change)):
        folder.mkdir()
        for kind, text in texts.items():
            (folder / f"{kind}.yaml").write_text(re.sub(values, partial(respelled, spelled), text))
        catalogues.append(read_catalogue(folder)[0])

    assert catalogues[0] == catalogues[1]
    assert repr(catalogues[0]) == repr(catalogues[1])


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("customers", {"id": "c", "country": "\u0131n"}),
        ("prices", {**PRICE, "billing_model": "FLAT_fee\u017f"}),
        ("prices", {**PRICE, "type": "u\u017fage"}),
    ],
)
def test_a_letter_that_only_looks_like_another_in_capitals_is_refused(
    kind: str, record: dict[str, Any]
) -> None:
    assert not taken_by_the_model(kind, record)
    assert not taken_by_the_schema(kind, record)
