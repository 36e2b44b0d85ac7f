"""What a fake server does: responses, steps and their syntax."""
