"""Bytes over HTTP/1.1: timeouts, proxies, TLS, pooled connections, one exchange per call. No chat API, no events."""
