"""Tables of hostile requests: what is sent, by name."""

from __future__ import annotations

from acytoo.testing.hostile.site import Site

BODY = b'{"model": "m-1", "messages": [{"role": "user", "content": "Hi"}], "stream": true}'
POST = "POST /v1/chat/completions HTTP/1.1"
LENGTH = f"content-length: {len(BODY)}\r\n"
CODED = "transfer-encoding: chunked\r\n"
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
ENDLESS_HEAD = b"GET / HTTP/1.1\r\n" + b"x" * 3_000_000


def broken_requests(site: Site) -> dict[str, bytes]:
    """Return HTTP that is broken, or that two servers may understand differently. Each must be refused."""
    head = site.head
    hostless = head(POST, LENGTH).replace(b"\r\nhost: ", b"\r\nx-host: ")
    return {
        "length and chunks": head(POST, LENGTH + CODED) + CHUNKED,
        "chunks and length": head(POST, CODED + LENGTH) + CHUNKED,
        "an unknown transfer coding": head(POST, "transfer-encoding: xchunked\r\n") + CHUNKED,
        "two transfer codings": head(POST, CODED + "transfer-encoding: identity\r\n") + CHUNKED,
        "compressed chunks": head(POST, "transfer-encoding: gzip, chunked\r\n") + CHUNKED,
        "the identity coding": head(POST, "transfer-encoding: identity\r\n" + LENGTH) + BODY,
        "chunks twice": head(POST, CODED + CODED) + CHUNKED,
        "chunks in HTTP/1.0": head(POST.replace("1.1", "1.0"), CODED) + CHUNKED,
        "two lengths that are equal": head(POST, LENGTH + LENGTH) + BODY,
        "two lengths that differ": head(POST, LENGTH + "content-length: 3\r\n") + BODY,
        "two lengths in one header": head(POST, f"content-length: {len(BODY)}, {len(BODY)}\r\n") + BODY,
        "a length with a sign": head(POST, f"content-length: +{len(BODY)}\r\n") + BODY,
        "a length below zero": head(POST, "content-length: -1\r\n") + BODY,
        "a length in hex": head(POST, "content-length: 0x10\r\n") + BODY,
        "a length with an underscore": head(POST, "content-length: 8_1\r\n") + BODY,
        "a length of thousands of digits": head(POST, f"content-length: {len(BODY):05000}\r\n") + BODY[:-1],
        "a length without end": head(POST, f"content-length: {'9' * 40}\r\n") + BODY,
        "an invalid chunk size": head(POST, CODED) + b"zz\r\n" + BODY + b"\r\n0\r\n\r\n",
        "a chunk size below zero": head(POST, CODED) + b"-1\r\n" + BODY + b"\r\n0\r\n\r\n",
        "a chunk size with 0x": head(POST, CODED) + b"0x51\r\n" + BODY + b"\r\n0\r\n\r\n",
        "a chunk size too large": head(POST, CODED) + b"f" * 30 + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        "a chunk longer than its size": head(POST, CODED) + b"2\r\n" + BODY + b"\r\n0\r\n\r\n",
        "chunks with bare line feeds": head(POST, CODED) + b"%x\n%b\n0\n\n" % (len(BODY), BODY),
        "a folded header": head(POST, "x-a: b\r\n c\r\n" + LENGTH) + BODY,
        "bare line feeds": head(POST, LENGTH).replace(b"\r\n", b"\n") + BODY,
        "a NUL in a header": head(POST, "x-a: b\0c\r\n" + LENGTH) + BODY,
        "a carriage return in a header": head(POST, "x-a: b\rc\r\n" + LENGTH) + BODY,
        "a space before the colon": head(POST, f"content-length : {len(BODY)}\r\n") + BODY,
        "no host": hostless + BODY,
        "two hosts": head(POST, "host: evil.example\r\n" + LENGTH) + BODY,
        "two equal hosts": head(POST, "host: 127.0.0.1\r\n" + LENGTH) + BODY,
        "no version": b"GET /healthz\r\n\r\n",
        "another version": head("POST /v1/chat/completions HTTP/9.9", LENGTH) + BODY,
        "RTSP": head("GET /healthz RTSP/1.0"),
        "RTSP with a host": head("OPTIONS * RTSP/1.1"),
        "RTSP behind a request": head("GET /healthz HTTP/1.1") + head("GET /healthz RTSP/1.0"),
        "ICE": head("SOURCE /healthz ICE/1.0"),
        "SIP": head("OPTIONS sip:a@b SIP/2.0"),
        "a protocol in lower case": head("GET /healthz http/1.1"),
        "a line that is too long": head("GET /" + "a" * 20_000 + " HTTP/1.1"),
        "a header that is too long": head("GET /healthz HTTP/1.1", f"x-a: {'a' * 20_000}\r\n"),
        "too many headers": head("GET /healthz HTTP/1.1", "".join(f"x-{n}: a\r\n" for n in range(500))),
        "HTTP/2 unasked": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "not HTTP at all": b"\x00\xff\r\n\r\n",
    }


MALFORMED_BODIES = {
    "nothing": b"",
    "not JSON": b"hello",
    "incomplete JSON": b'{"messages": [',
    "a list": b"[]",
    "a string": b'"messages"',
    "null": b"null",
    "invalid UTF-8": b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "a lone surrogate": b'{"messages": [{"role": "user", "content": "\\ud800"}], "contents": "\\ud800"}',
    "NULs": b"\0" * 100,
    "a byte order mark": b"\xef\xbb\xbf{}",
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"messages":' * 50_000 + b"1" + b"}" * 50_000,
    "a deep value": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a form": b"messages=hello&model=m-1",
    "XML": b"<?xml version='1.0'?><messages/>",
    "a huge number": b'{"messages": ' + b"9" * 10_000 + b"}",
    "not a number": b'{"messages": NaN}',
}
"""Bodies that are not a request in any API. Each must be refused with status 400 in the client's own format."""

FOREIGN = {
    "another host": ("evil.example", ""),
    "a host rebound to this machine": ("evil.example:8000", ""),
    "a host that looks like this machine": ("127.0.0.1.evil.example", ""),
    "a host that cannot be parsed": ("[::", ""),
    "an empty host": ("", ""),
    "a host behind a user": ("evil.example@127.0.0.1", ""),
    "a host with two ports": ("127.0.0.1:8000:80", ""),
    "a port that is not a number": ("127.0.0.1:evil", ""),
    "an IPv6 address without brackets": ("::1", ""),
    "a name in brackets": ("[evil.example]", ""),
    "an IPv4 address in brackets": ("[127.0.0.1]", ""),
    "an address with a dot at its end": ("127.0.0.1.", ""),
    "a number that is not an address": ("127.0.0.1.8", ""),
    "digits of another script": ("\u0661\u0662\u0667.0.0.1", ""),
    "a path behind the host": ("127.0.0.1/evil.example", ""),
    "two hosts": ("127.0.0.1, evil.example", ""),
    "another origin": ("127.0.0.1", "origin: http://evil.example\r\n"),
    "an origin on another port": ("127.0.0.1:8000", "origin: http://127.0.0.1:9000\r\n"),
    "no origin": ("127.0.0.1", "origin: null\r\n"),
    "an origin that cannot be parsed": ("127.0.0.1", "origin: http://[::\r\n"),
}
"""The host, and more headers, of requests that other sites' pages cause. A server without a password refuses them."""

UNKNOWN_PATHS = {
    "OPTIONS /v1/chat/completions": 405,
    "PUT /v1/messages": 405,
    "GET /api/chat": 405,
    "DELETE /api/completions": 405,
    "OPTIONS *": 404,
    "CONNECT 127.0.0.1:443": 404,
    "GET /../../etc/passwd": 404,
    "GET /v1/models/%00%ff": 404,
    "GET /v1/%zz": 404,
    "TRACE /": 405,
}
"""Methods and targets that the server does not have, and the status of each."""

UNKNOWN_CODINGS = ("br", "compress", "gzip, gzip")
"""Values of `Content-Encoding` that the server does not decode."""
