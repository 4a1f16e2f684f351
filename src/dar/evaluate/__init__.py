"""Sampling for evaluation, and measuring what models make."""
