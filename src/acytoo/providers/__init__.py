"""The providers: one short file each, nothing else to edit."""
