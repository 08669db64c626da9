"""Freeze a function after its import, and restore two processes from the same memory, as SnapStart does.

    python frozen.py FUNCTION < event.json

A fork is the restored process: it has the memory of the process that was frozen, open connections included. Each
runs the hooks that the function registered for a restore, then answers the event. `NUMBER` in its body is 0 for
the frozen process, 1 and 2 for the restored ones. Prints JSON: what each process answered, and the local ports of
its connections to the table.
"""

import json
import os
import random
import sys
import time
from types import ModuleType
from typing import Any

import snapshot_restore_py  # type: ignore[import-untyped]

from support.functions import load

PAUSE = 1.1


def ports(function: ModuleType) -> list[int]:
    """Return the local ports of the connections that the function's client of the table holds."""
    manager = function.store.table.client._endpoint.http_session._manager
    pools = [manager.pools[key] for key in manager.pools.keys()]  # noqa: SIM118 - urllib3's container has no __iter__
    connections = [connection for pool in pools for connection in pool.pool.queue if connection is not None]
    return [each.sock.getsockname()[1] for each in connections if each.sock is not None]


def answered(function: ModuleType, event: dict[str, Any], number: int) -> dict[str, Any]:
    """Answer the event, and tell what is there beside the answer."""
    held = ports(function)
    reply = function.handler(event | {"body": event["body"].replace("NUMBER", str(number))}, None)
    return {
        "status": reply["statusCode"],
        "body": json.loads(reply["body"]),
        "held": held,
        "used": ports(function),
        "random": random.random(),  # noqa: S311 - whether copies draw the same is the question
    }


def restored(function: ModuleType, event: dict[str, Any], number: int) -> dict[str, Any]:
    """Return what a copy of this process answers once its hooks have run."""
    reading, writing = os.pipe()
    drawn = random.getstate()
    if os.fork() == 0:
        # Python seeds `random` anew in a fork. Nobody does in a restored process.
        random.setstate(drawn)
        for renew, arguments, named in snapshot_restore_py.get_after_restore():
            renew(*arguments, **named)
        with os.fdopen(writing, "w") as pipe:
            json.dump(answered(function, event, number), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found: dict[str, Any] = json.load(pipe)
    os.wait()
    return found


if __name__ == "__main__":
    frozen, asked = load(sys.argv[1]), json.load(sys.stdin)
    at_import = ports(frozen)
    first = answered(frozen, asked, 0)
    copies = []
    for each in (1, 2):
        time.sleep(PAUSE)
        copies.append(restored(frozen, asked, each))
    print("FROZEN " + json.dumps({"at_import": at_import, "first": first, "copies": copies}))  # noqa: T201
