"""Rows to pages: figure data, figures, one self-contained HTML file; loads no torch."""
