"""Towards a device: export, quantisation, latency, byte and MAC budgets."""
