"""Options that many commands have."""

from typing import Annotated

import typer

TableName = Annotated[str, typer.Option("--table", envvar="TABLE_NAME", help="Name of the DynamoDB table.")]
Organization = Annotated[
    str,
    typer.Option(
        "--organization", "-o", envvar="METERSTONE_ORGANIZATION", help="The organization's id, a UUID."
    ),
]
