"""`GET /openapi.yaml`: the description of every route, for people and for generators of clients."""

from pathlib import Path

from meterstone.edge.files import File, Files

DOCUMENT = Path(__file__).with_name("openapi.yaml")

files = Files(
    {
        "/openapi.yaml": File(
            DOCUMENT.read_text(encoding="utf-8"),
            "application/yaml; charset=utf-8",
            # Anybody may read it, also a page of another origin that shows API descriptions.
            {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache"},
        )
    }
)

handler = files.handler
