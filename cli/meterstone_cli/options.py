"""Options that many commands have."""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import msgspec
import typer

from meterstone.usage.arrival import Subject

TableName = Annotated[str, typer.Option("--table", envvar="TABLE_NAME", help="Name of the DynamoDB table.")]


def _as_loaded(organization: str) -> str:
    """Return an organization's id as `load` stores it; what is no UUID is left to be told that it is unknown.

    >>> _as_loaded("5D1F3A52-8F0E-4B8E-9A53-0B7B0A6F1C11"), _as_loaded("acme")
    ('5d1f3a52-8f0e-4b8e-9a53-0b7b0a6f1c11', 'acme')
    """
    try:
        return str(UUID(organization))
    except ValueError:
        return organization


Organization = Annotated[
    str,
    typer.Option(
        "--organization",
        "-o",
        envvar="METERSTONE_ORGANIZATION",
        help="The organization's id, a UUID.",
        callback=_as_loaded,
    ),
]

AnyOrganization = Annotated[
    str | None,
    typer.Option(
        "--organization",
        "-o",
        help="That of one organization alone, by its id, a UUID.",
        callback=lambda organization: None if organization is None else _as_loaded(organization),
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV, with a header row.")]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask first. Only who sits at a terminal is asked.")
]


def tell_as_json(told: Mapping[str, Any]) -> None:
    """Print an object as one line of JSON."""
    typer.echo(json.dumps(told, ensure_ascii=False))


def tell_body(body: msgspec.Struct) -> None:
    """Print what an endpoint answers as one line of JSON, its numbers with all their digits."""
    typer.echo(msgspec.json.encode(body).decode())


def subject_of(subscription: str | None, customer: str | None) -> Subject:
    """Return whose events an option names: a subscription's, by its external id, or a customer's."""
    return Subject.customer(customer or "") if subscription is None else Subject.subscription(subscription)


def whose_of(subject: Subject) -> str:
    """Say whose events a subject's are.

    >>> whose_of(Subject.customer("acme"))
    'customer acme'
    """
    return f"{'subscription' if subject.kind == 's' else 'customer'} {subject.external_id}"
