"""Servers and proxies on 127.0.0.1 that misbehave on purpose."""
