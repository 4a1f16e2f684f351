"""Measures of images, features and codes: pure functions."""
