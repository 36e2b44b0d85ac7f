"""What Acytoo costs, measured beside the loop one would write by hand and beside its peers: `python -m bench`."""
