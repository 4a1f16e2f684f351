"""A demonstration of what a model can do, on one page."""
