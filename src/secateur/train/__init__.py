"""Before and after the cut: penalties, the training loop, batch-norm re-estimation."""
