"""Which channels go: a budget and scores in, a written plan out; loads no torch."""
