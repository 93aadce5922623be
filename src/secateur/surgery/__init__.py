"""Cutting: plan in, smaller module out, proved before and verified after."""
