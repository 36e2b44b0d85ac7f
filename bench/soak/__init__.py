"""The soak: faulty traffic for minutes, after which everything is where it was."""
