"""What every record of the catalogue is made of: known keys, facts that change over time, details beside them."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from meterstone.catalogue.values import Instant, Label


class Conflict(NamedTuple):
    """A field that does not fit to others, and why."""

    field: str
    reason: str


class Record(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def conflicts(self, broken: AbstractSet[str]) -> Iterable[Conflict]:  # noqa: ARG002 - most records have none
        """Say which fields do not fit together, apart from those that are ``broken``, which have no value."""
        return ()


class DatedValue[Value](Record):
    """What a fact is from an instant on."""

    value: Value = Field(description="What holds from then on.")
    since: Instant | None = Field(
        None, description="When it begins to hold. Only the first entry may leave it out: it holds from ever."
    )


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [{"value": value}]


def _ordered[Value](facts: list[DatedValue[Value]]) -> list[DatedValue[Value]]:
    if not facts:
        raise ValueError("must not be an empty list")
    for before, after in pairwise(facts):
        if after.since is None:
            raise ValueError("only the first entry may leave `since` out")
        if before.since is not None and after.since <= before.since:
            raise ValueError("must be in the order of `since`, each later than the one before")
    return facts


class _PlainOrDated:
    """Describes a fact that can change over time: a plain value, or a list."""

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        listed = handler(core)
        plain = handler.resolve_ref_schema(listed["items"])["properties"]["value"]
        plain = {key: value for key, value in plain.items() if key != "description"}
        title = f"{plain['title']}, or a list of {{value, since}}"
        return {"title": title, "anyOf": [plain, {**listed, "minItems": 1}]}


type Dated[Value] = Annotated[
    list[DatedValue[Value]], BeforeValidator(_listed), AfterValidator(_ordered), _PlainOrDated()
]
type Scalar = Label | int | bool | None
type Details = Annotated[
    dict[Label, Scalar | dict[Label, Scalar] | list[dict[Label, Scalar]]],
    WithJsonSchema({"title": "mapping of texts, numbers and booleans, nested once", "type": "object"}),
]
