"""Bytes to records: text, server-sent events and newline-delimited JSON, without I/O."""
