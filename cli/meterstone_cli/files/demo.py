"""The demo: real usage on a catalogue that shows every way of pricing it.

`examples/demo/usage` holds four public traces (see the README there). This is how a row becomes an event:

- A language model trace names no customers. Its rows, counted from 0, go to the 40 customers in turn: row *n*
  is a request of customer *n* modulo 40, with its tokens and its `model`, which is the trace.
- A home's meter trace has one event for each row, with the hour's kWh, at the hour's start.

Every trace is loaded twice: as it was recorded, and shifted in time so that it ends today, as the usage of the
subscriptions whose external ids end in `-shifted`; the ids of these events end likewise, and their property
`trace` is `shifted`. Language model traces, an hour each, move by whole hours; homes by whole days of local
time, so that an hour of the evening stays one, whatever the clocks do. How far depends on when the demo is first
loaded; the ids do not, so that another shift of the same traces is never counted beside it.
"""

import gzip
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from meterstone.usage.calendar import EPOCH_DAY, zone
from meterstone.usage.instant import DAY, HOUR, MINUTE, SECOND, parse_instant
from meterstone.usage.meter import Event, Property
from meterstone_cli.files.usage_files import UsageEvent

#: Part of each source's identity: another rule makes other events of the same files.
RULE = "1"
SHIFTED = "-shifted"

CUSTOMERS = (
    *("aldergrove", "bitterroot", "copperfield", "dunlin", "elderflower", "fathom", "greenfinch", "hinoki"),
    *("ibex", "juniper", "kingfisher", "larkspur", "marram", "nutmeg", "osprey", "palisade"),
    *("quillwort", "rowan", "sakura", "teasel", "umbra", "verbena", "wagtail", "xenia"),
    *("yarrow", "zephyr", "amaranth", "basalt", "cinnabar", "dotterel", "eyebright", "foxglove"),
    *("gannet", "hawthorn", "indigo", "jackdaw", "kestrel", "lamprey", "mistral", "nettle"),
)

_HOME = "America/Chicago"
_MODELS = {"code": "azure_llm_code_2023-11-16.csv.gz", "chat": "azure_llm_conv_2023-11-16.csv.gz"}
_HOMES = {"electricity": "il-electricity-cdd-hdd-hourly.csv.gz", "gas": "il-gas-hdd-only-hourly.csv.gz"}


@dataclass(frozen=True, slots=True)
class Source:
    """One trace, as recorded or shifted: `events` reads it, each with its line in the file."""

    name: str
    sha256: str
    rows: int
    events: Callable[[], Iterator[tuple[int, UsageEvent]]]


def sources(folder: Path, ends: int) -> list[Source]:
    """Return the demo's sources, from the files in `folder`; the shifted ones end at or just before `ends`."""
    found = []
    hours = _model_shift(folder, ends)
    for model, file in _MODELS.items():
        rows, digest = _rows(folder / file)
        found += [_source(file, digest, rows, by, _models(model, rows, by)) for by in (0, hours)]
    days = _home_shift(folder, ends)
    for energy, file in _HOMES.items():
        rows, digest = _rows(folder / file)
        found += [_source(file, digest, rows, by, _homes(energy, rows, by)) for by in (0, days)]
    return found


def _source(
    file: str,
    digest: str,
    rows: list[str],
    shift: int,
    events: Callable[[], Iterator[tuple[int, UsageEvent]]],
) -> Source:
    name = f"{file} (shifted)" if shift else file
    identity = hashlib.sha256(f"{digest} {RULE} {shift}".encode()).hexdigest()
    return Source(name, identity, len(rows), events)


def _rows(path: Path) -> tuple[list[str], str]:
    """Read a trace's rows below its header, and the SHA-256 of the file."""
    raw = path.read_bytes()
    return gzip.decompress(raw).decode("ascii").splitlines()[1:], hashlib.sha256(raw).hexdigest()


def _model_shift(folder: Path, ends: int) -> int:
    last = max(parse_instant(_rows(folder / file)[0][-1].split(",")[0]) for file in _MODELS.values())
    return (ends - last) // HOUR * HOUR


def _home_shift(folder: Path, ends: int) -> int:
    last = max(_rows(folder / file)[0][-1][:10] for file in _HOMES.values())
    return (zone(_HOME).day_of(ends) - date.fromisoformat(last).toordinal()) * DAY


def _models(model: str, rows: list[str], shift: int) -> Callable[[], Iterator[tuple[int, UsageEvent]]]:
    suffix = SHIFTED if shift else ""
    subscriptions = [customer + suffix for customer in CUSTOMERS]

    def events() -> Iterator[tuple[int, UsageEvent]]:
        for index, row in enumerate(rows):
            time, prompt, generated = row.split(",")
            properties: dict[str, Property] = {
                "prompt_tokens": int(prompt),
                "generated_tokens": int(generated),
                "model": model,
            }
            if shift:
                properties["trace"] = "shifted"
            event = Event(f"{model}-{index}{suffix}", "llm_request", parse_instant(time) + shift, properties)
            yield index + 2, UsageEvent(subscriptions[index % len(CUSTOMERS)], None, event)

    return events


def _homes(energy: str, rows: list[str], shift: int) -> Callable[[], Iterator[tuple[int, UsageEvent]]]:
    suffix = SHIFTED if shift else ""
    subscription = f"home-{energy}{suffix}"
    name = f"{energy}_reading"

    def events() -> Iterator[tuple[int, UsageEvent]]:
        at_wall = zone(_HOME).at_wall
        for index, row in enumerate(rows):
            time, kwh = row.split(",")
            properties: dict[str, Property] = {"kwh": Decimal(kwh)}
            if shift:
                properties["trace"] = "shifted"
                at = at_wall(_wall(time) + shift)
            else:
                at = parse_instant(time)
            yield (
                index + 2,
                UsageEvent(subscription, None, Event(f"{energy}-{index}{suffix}", name, at, properties)),
            )

    return events


def _wall(time: str) -> int:
    """Read the time that the clock shows, as microseconds since its 1970-01-01T00:00, without the offset."""
    day = date.fromisoformat(time[:10]).toordinal() - EPOCH_DAY
    return day * DAY + int(time[11:13]) * HOUR + int(time[14:16]) * MINUTE + int(time[17:19]) * SECOND
