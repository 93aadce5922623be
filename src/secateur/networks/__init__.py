"""Reference networks for log-mel input, each readable from top to bottom."""
