"""What a channel is worth: formulas that give every filter a score, higher = keep."""
