"""The scoreboard: one table of faults, run against every library's client as it comes."""
