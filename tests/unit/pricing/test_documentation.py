"""The examples in docstrings are right."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("module", ["commitment", "cost", "currency", "money", "tiered"])
def test_docstring_examples(module: str) -> None:
    results = doctest.testmod(import_module(f"meterstone.pricing.{module}"))

    assert results.attempted > 0
    assert results.failed == 0
