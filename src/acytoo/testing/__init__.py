"""Scripted servers and proxies on the loopback that misbehave in every way real ones do.

```python
async with FakeEndpoint(dialects.openai, reply("Hello ", "world").cut_bytes(1).reset(after_bytes=17)) as fake:
    ...  # any client, pointed at fake.url
assert fake.requests[0].json["model"] == "gpt-4o"
```

`with` in place of `async with` serves from a thread, for clients that are not asynchronous.
"""

from acytoo.testing.answers import (
    Answer,
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
from acytoo.testing.certificates import Authority
from acytoo.testing.conformance import ProviderConformance
from acytoo.testing.endpoint import FakeEndpoint
from acytoo.testing.loopback import Peer, black_hole, refused_port
from acytoo.testing.proxies import FakeHTTPProxy, FakeSOCKSProxy
from acytoo.testing.received import ReceivedRequest

__all__ = [
    "Answer",
    "Authority",
    "FakeEndpoint",
    "FakeHTTPProxy",
    "FakeSOCKSProxy",
    "Peer",
    "ProviderConformance",
    "ReceivedRequest",
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
