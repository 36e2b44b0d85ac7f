"""One codec each: a module or a folder per chat API."""
