"""What a fake server does: scripted responses, the steps they become, and their command-line syntax."""
