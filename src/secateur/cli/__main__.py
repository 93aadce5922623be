"""`python -m secateur.cli`, where the `secateur` script is not on the path."""

from secateur.cli.start import main

main()
