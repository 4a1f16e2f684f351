"""Conversion of published checkpoints and of stock Llama folders (docs/formats.md)."""
