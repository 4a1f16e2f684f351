"""What a model can do, on one page."""
