"""Records of the catalogue as they are stored: as JSON text in an item's attribute."""

import msgspec


def encode_document(value: object) -> str:
    """Return the JSON text under which a domain value is stored."""
    return msgspec.json.encode(value, order="deterministic").decode()
