"""What other projects expect of a provider class."""
