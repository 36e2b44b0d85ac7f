"""One library in an environment of its own: call it once at each URL and print what its caller sees.

`python -m bench.faults_client CALLER LIMIT OPTIONS URLS`; options and URLS are JSON, the output is a JSON line for each
URL. Needs only the standard library and the library itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
import traceback
from typing import Any

from bench.callers import CALLERS, Target

MODEL = "m-1"


async def observe(caller: str, target: Target, limit: float) -> dict[str, Any]:
    """Return the text, how the call ended ("complete", "error", "hangs") and after how many seconds."""
    texts: list[str] = []
    result: dict[str, Any] = {"end": "complete", "error": "", "message": ""}
    bound = asyncio.timeout(limit)
    started = time.monotonic()
    try:
        async with bound, CALLERS[caller](target) as call:
            await call(texts.append)
    except Exception as error:
        if bound.expired():
            result["end"] = "hangs"
        else:
            message = traceback.format_exception_only(error)[-1].strip()
            name = f"{type(error).__module__}.{type(error).__qualname__}"
            result = {"end": "error", "error": name, "message": message[:300]}
    return {**result, "text": "".join(texts), "seconds": round(time.monotonic() - started, 2)}


async def observe_all(caller: str, limit: float, options: dict[str, Any], urls: dict[str, str]) -> None:
    """Call all URLs at once, after a first call alone that loads the library."""
    out, sys.stdout = sys.stdout, sys.stderr

    async def one(name: str, url: str) -> None:
        result = await observe(caller, Target(url, MODEL, options=options), limit)
        print(json.dumps({"fault": name, **result}), file=out, flush=True)

    if "none" in urls:
        await observe(caller, Target(urls["none"], MODEL, options=options), 60.0)
    await asyncio.gather(*[one(name, url) for name, url in urls.items()])


def main() -> None:
    """Observe one library."""
    caller, limit, options, urls = sys.argv[1:5]
    logging.disable()
    asyncio.run(observe_all(caller, float(limit), json.loads(options), json.loads(urls)))


if __name__ == "__main__":
    main()
