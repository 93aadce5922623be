"""When a channel counts as inactive: one threshold for the trainer and for what is reported."""

from __future__ import annotations

INACTIVE_BELOW = 0.01
"""A channel is inactive below this share of the largest weight in the pool, the network."""
