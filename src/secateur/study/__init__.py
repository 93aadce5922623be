"""Many runs: recipe, grid of cells, rows on disk, comparison."""
