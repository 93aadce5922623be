"""The edge: strings become objects here, and only here."""
