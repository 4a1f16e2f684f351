"""Reports of evaluations: numbers, a page, a comparison."""
