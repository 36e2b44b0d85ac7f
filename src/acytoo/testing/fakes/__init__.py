"""Servers and proxies on loopback that misbehave on purpose."""
