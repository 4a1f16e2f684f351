"""Requests, settings and results of generation."""
