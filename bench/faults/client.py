"""One library in its own environment: is asked once at each URL, prints what its caller saw, a JSON line for each.

Needs the standard library and the library itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
import traceback
from typing import Any

from bench.faults.callers import CALLERS


async def asked(caller: str, url: str, limit: float, timeout: float | None) -> dict[str, Any]:
    """What a caller sees: the texts, how it ended ("complete", "error", "hangs"), and after how many seconds."""
    texts: list[str] = []
    seen: dict[str, Any] = {"end": "complete", "error": "", "message": ""}
    bound = asyncio.timeout(limit)
    started = time.monotonic()
    try:
        async with bound:
            await CALLERS[caller](url, texts.append, timeout)
    except Exception as error:
        if bound.expired():
            seen["end"] = "hangs"
        else:
            told = traceback.format_exception_only(error)[-1].strip()
            name = f"{type(error).__module__}.{type(error).__qualname__}"
            seen = {"end": "error", "error": name, "message": told[:300]}
    return {**seen, "text": "".join(texts), "seconds": round(time.monotonic() - started, 2)}


async def all_asked(caller: str, limit: float, timeout: float | None, urls: dict[str, str]) -> None:
    """Ask at every URL at once, after a first call alone that loads the library."""
    out, sys.stdout = sys.stdout, sys.stderr

    async def one(name: str, url: str) -> None:
        print(json.dumps({"fault": name, **await asked(caller, url, limit, timeout)}), file=out, flush=True)

    if "none" in urls:
        await asked(caller, urls["none"], 60.0, timeout)
    await asyncio.gather(*[one(name, url) for name, url in urls.items()])


def main() -> None:
    """`python -m bench.faults.client CALLER LIMIT TIMEOUT|- URLS`, URLS being JSON."""
    caller, limit, timeout, urls = sys.argv[1:5]
    logging.disable()
    asyncio.run(all_asked(caller, float(limit), None if timeout == "-" else float(timeout), json.loads(urls)))


if __name__ == "__main__":
    main()
