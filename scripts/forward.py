"""Let containers reach one port of this machine's loopback: `forward.py BRIDGE PORT`.

On Linux a container reaches its host by the bridge's address, where a server on loopback does not listen.
This listens there alone, so nothing is opened to the network. BRIDGE is that address, or the bridge's subnet,
of which it is the first. Runs until it is ended.
"""

import asyncio
import sys
from contextlib import suppress
from functools import partial
from ipaddress import ip_network


async def forward(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one connection's bytes both ways between a container and 127.0.0.1:`port`."""
    with suppress(OSError):
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))
    writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until either side closes, then close the other."""
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def main(bridge: str, port: int) -> None:
    """Serve until cancelled."""
    host = str(next(iter(ip_network(bridge).hosts())))
    async with await asyncio.start_server(partial(forward, port), host, port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
