"""The bare ASGI route beside the tracker: the server of production and nothing behind it, as a process.

Promises: the same event loop, HTTP parser and server settings as the tracker (``hayabin.lifecycle.serve_http``), the
same answers byte by byte (taken from the tracker's own ``answers``), and of the request nothing is read but the first
letters of its path. So it does what no tracker can do with less.
"""

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

import uvloop

from hayabin.lifecycle import Process, serve_http
from hayabin.settings import ProcessSettings
from services.tracker.answers import pixel, redirect


async def serve(port: int, location: str) -> None:
    """Serve until told to stop."""
    opened, clicked = pixel(200), redirect(location)

    async def app(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        answer = clicked if scope["path"].startswith("/c/") else opened
        await send(answer.start)
        await send(answer.body)

    process = Process("bare", ProcessSettings())
    serving = asyncio.create_task(serve_http(app, "127.0.0.1", port, process))
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            break
    print(json.dumps({"pid": os.getpid()}), flush=True)
    await serving


def main() -> None:
    """Entry of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    uvloop.run(serve(**json.loads(parser.parse_args().config.read_text())))


if __name__ == "__main__":
    main()
