"""Names that change with the content, for files that refer to each other. A browser may keep such files for ever.

`app.js` is served as `app.0f3c5a9be2d1.js`. The hash is of the content as it is sent, in which the names of other
files are replaced already. So a changed file also changes every file that refers to it.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

_DIGITS: Final = 12


def hashed_names(files: Mapping[str, str], reference: re.Pattern[str]) -> dict[str, tuple[str, str]]:
    """Return the hashed name and the content of each file, by its plain name.

    ``reference`` finds references in a content; its group ``name`` is a plain name. Names that are no file are
    left as they are. Raises `ValueError` for files that refer to each other in a circle.

    >>> found = hashed_names({"a.js": 'import "./b.js";', "b.js": "1"}, re.compile(r'"./(?P<name>[a-z.]+)"'))
    >>> found["b.js"]
    ('b.6b86b273ff34.js', '1')
    >>> found["a.js"][1]
    'import "./b.6b86b273ff34.js";'
    """
    done: dict[str, tuple[str, str]] = {}
    begun: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in files:
            return match[0]
        start, end = match.start("name") - match.start(), match.end("name") - match.start()
        return f"{match[0][:start]}{finish(name)[0]}{match[0][end:]}"

    def finish(name: str) -> tuple[str, str]:
        if name not in done:
            if name in begun:
                raise ValueError(f"{' refers to '.join([*begun[begun.index(name) :], name])}")
            begun.append(name)
            content = reference.sub(replaced, files[name])
            begun.pop()
            stem, _, ending = name.rpartition(".")
            digest = hashlib.sha256(content.encode()).hexdigest()[:_DIGITS]
            done[name] = f"{stem}.{digest}.{ending}", content
        return done[name]

    for name in files:
        finish(name)
    return done
