"""The demo's key in the page of `make start`: a person sees usage at once, with nothing to type.

Only the local server does this. The deployed page has no such key, and no route gives one. The key stands in the
page itself, never in an address, and only in that which a browser of this machine asks for by a loopback name: a
page of another host cannot read it, also not by a name of its own that leads to this machine.
"""

import ipaddress
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from meterstone_cli.devserver.gateway import Invocable

PAGE: Final = "/dashboard"
_HEAD: Final = "<head>"


class PageWithKey:
    """The function of the page, whose answers to this machine also have the key: `<meta name="demo-key">`."""

    def __init__(self, page: Invocable, key: str) -> None:
        """Add a key to the answers of a function."""
        self._page = page
        self._key = key

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        """Call the function, and add the key to its answer if it is a page for this machine."""
        if not is_local(event):
            return self._page.invoke(event, request_id)
        names = {"if-none-match"}
        unconditional = event | {
            part: {name: value for name, value in event[part].items() if name.lower() not in names}
            for part in ("headers", "multiValueHeaders")
        }
        answer = self._page.invoke(unconditional, request_id)
        if not isinstance(answer, dict) or answer.get("statusCode") != 200:  # noqa: PLR2004 - OK
            return answer
        meta = f'{_HEAD}\n    <meta name="demo-key" content="{escape(self._key)}">'
        headers = {name: value for name, value in answer["multiValueHeaders"].items() if name != "ETag"}
        return answer | {
            "body": answer["body"].replace(_HEAD, meta, 1),
            "multiValueHeaders": headers | {"Cache-Control": ["no-store"]},
        }


def with_demo_key(functions: Mapping[str, Invocable], key: str) -> dict[str, Invocable]:
    """Return the functions of each path, of which that of the page adds a key."""
    return {**functions, PAGE: PageWithKey(functions[PAGE], key)}


def is_local(event: Mapping[str, Any]) -> bool:
    """Return whether an event came from this machine, and was addressed to it by a loopback name."""
    hosts = [value for name, value in event["headers"].items() if name.lower() == "host"]
    address = event["requestContext"]["identity"]["sourceIp"]
    return len(hosts) == 1 and _is_loopback(address) and _is_loopback(_name(hosts[0]))


def _name(host: str) -> str:
    """Return the name of a `Host` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(name: str) -> bool:
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
