"""Fake servers and proxies on 127.0.0.1, and a conformance suite for providers.

A fake endpoint answers with scripted responses and faults:

```python
async with FakeEndpoint(dialects.OpenAI(), reply("Hello ", "world").cut_bytes(1).reset(after_bytes=17)) as fake:
    ...  # any client, pointed at fake.url
assert fake.requests[0].json["model"] == "gpt-4o"
```

Use `with` in place of `async with` to serve from a thread, for synchronous clients.
"""

from acytoo.testing.conformance.suite import ProviderConformance
from acytoo.testing.fakes.certificates import Authority
from acytoo.testing.fakes.endpoint import FakeEndpoint
from acytoo.testing.fakes.proxies import FakeHTTPProxy, FakeSOCKSProxy
from acytoo.testing.fakes.requests import ReceivedRequest
from acytoo.testing.fakes.server import Peer, black_hole, refused_port
from acytoo.testing.script.responses import (
    ScriptedResponse,
    garbage,
    hang_up,
    json_error,
    page,
    raw,
    redirect,
    reply,
    silent,
    status,
)

__all__ = [
    "Authority",
    "FakeEndpoint",
    "FakeHTTPProxy",
    "FakeSOCKSProxy",
    "Peer",
    "ProviderConformance",
    "ReceivedRequest",
    "ScriptedResponse",
    "black_hole",
    "garbage",
    "hang_up",
    "json_error",
    "page",
    "raw",
    "redirect",
    "refused_port",
    "reply",
    "silent",
    "status",
]
