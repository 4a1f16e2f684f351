"""Measuring what models make."""
