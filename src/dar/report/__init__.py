"""What an evaluation found: numbers, a page, a comparison."""
