"""What a team needs around a server: a configuration file, keys, limits, a ledger, metrics."""
