"""Debian's Firefox, as Playwright starts it, with the one command that it lacks answered here.

Playwright drives a Firefox that is not its own by WebDriver BiDi, and begins with
``emulation.setMediaFeaturesOverride``, which Firefox does not know yet. This program stands in the
browser's place: it starts the Firefox of the environment's VSEARCH_FIREFOX, hands on what both
say, and says "done" to that command. Colour schemes are therefore Chromium's to test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from typing import Any

LACKING = "emulation.setMediaFeaturesOverride"
LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")


async def _hand_on(client: Any, browser: Any) -> None:
    async for message in client:
        command = json.loads(message)
        if command.get("method") == LACKING:
            done = {"type": "success", "id": command["id"], "result": {}}
            await client.send(json.dumps(done))
        else:
            await browser.send(message)


async def _hand_back(browser: Any, client: Any) -> None:
    async for message in browser:
        await client.send(message)


async def _run(arguments: list[str]) -> int:
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve

    process = await asyncio.create_subprocess_exec(
        os.environ["VSEARCH_FIREFOX"], *arguments, stderr=asyncio.subprocess.PIPE
    )
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, process.terminate)
    address = ""

    async def between(client: Any) -> None:
        async with connect(address + client.request.path, max_size=None) as browser:
            ways = [
                asyncio.create_task(_hand_on(client, browser)),
                asyncio.create_task(_hand_back(browser, client)),
            ]
            _, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in rest:
                way.cancel()

    async with contextlib.AsyncExitStack() as stack:
        assert process.stderr is not None
        async for line in process.stderr:
            text = line.decode(errors="replace")
            if found := LISTENING.search(text):
                address = found[1]
                server = await stack.enter_async_context(
                    serve(between, "127.0.0.1", 0, max_size=None)
                )
                port = server.sockets[0].getsockname()[1]
                text = f"WebDriver BiDi listening on ws://127.0.0.1:{port}\n"
            sys.stderr.write(text)
            sys.stderr.flush()
        return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(_run(sys.argv[1:])))
