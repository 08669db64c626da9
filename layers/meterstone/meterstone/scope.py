"""The scopes of API keys: what a key opens of its organization.

A key stores its scopes in its own item, so that looking the key up reads them too. A key that stores none has all:
it was made without a choice, or before keys had scopes.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """A group of routes. Every route belongs to one, and answers the keys that have it."""

    #: Usage in every form: both usage endpoints, the other views of usage, explanations, previews, single events.
    READ = "read"
    #: Sending events.
    INGEST = "ingest"
    #: The records of the catalogue: changing them, and reading them.
    CATALOGUE = "catalogue"


ALL_SCOPES: Final = frozenset(Scope)


def format_scopes(scopes: Iterable[Scope]) -> str:
    """Write scopes as a text, in the order in which `Scope` has them.

    >>> format_scopes({Scope.INGEST, Scope.READ})
    'read,ingest'
    """
    chosen = frozenset(scopes)
    return ",".join(scope for scope in Scope if scope in chosen)


def parse_scopes(text: str) -> frozenset[Scope]:
    """Read what `format_scopes` wrote. A scope that this code does not know opens no route of it: it is left out.

    >>> sorted(parse_scopes("read,ingest")), parse_scopes("a scope of later"), parse_scopes("")
    ([<Scope.INGEST: 'ingest'>, <Scope.READ: 'read'>], frozenset(), frozenset())
    """
    named = frozenset(text.split(","))
    return frozenset(scope for scope in Scope if scope in named)
