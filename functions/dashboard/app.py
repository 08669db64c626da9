"""`GET /dashboard`: the page, and the files that it is made of. They ask the API as any other client does."""

import re
from pathlib import Path
from typing import Final

from meterstone.edge.files import File, Files
from meterstone.edge.hashed import hashed_names

STATIC: Final = Path(__file__).with_name("static")
PAGE: Final = "index.html"

#: Nothing but files of this origin, and requests to it. Styles are set by rules and by script, not by attributes.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE: Final = {"Referrer-Policy": "no-referrer"}
_FOREVER: Final = {**_SAFE, "Cache-Control": "public, max-age=31536000, immutable"}
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: `./name.js` in a module, and `dashboard/name.css` in the page.
_REFERENCE: Final = re.compile(r"""["'](?:\./|dashboard/)(?P<name>[a-z0-9_-]+\.[a-z]+)["']""")


def _files() -> dict[str, File]:
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(STATIC.iterdir())
        if path.suffix in _TYPES
    }
    served: dict[str, File] = {}
    for name, (hashed, content) in hashed_names(texts, _REFERENCE).items():
        kind = _TYPES[Path(name).suffix]
        if name == PAGE:
            headers = {
                **_SAFE,
                "Cache-Control": "no-cache",
                "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            }
            served["/dashboard"] = File(content, kind, headers)
        else:
            served[f"/dashboard/{hashed}"] = File(content, kind, _FOREVER)
    return served


files = Files(_files(), pages=("/dashboard",))

handler = files.handler
