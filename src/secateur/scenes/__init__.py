"""Acoustic scenes: data sets, features, synthesis. A customer of the library."""
