"""The commands, one module each: the module `x` defines the click command `x`."""
