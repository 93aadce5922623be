"""What the scores look like: numpy arrays in, frozen rows out; loads no torch."""
