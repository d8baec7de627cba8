"""Who owns time: collecting, learning, evaluating, and the command line."""
