"""Routes: one provider in front of several targets."""
