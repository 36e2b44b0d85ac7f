"""The one place that does HTTP: limits, proxies, pooled sessions, one exchange."""
