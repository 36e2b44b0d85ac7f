"""What every provider must survive, and the checks that it does."""
