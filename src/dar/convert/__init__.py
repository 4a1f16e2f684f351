"""Other people's weights in, ours out: published checkpoints and stock Llama folders (docs/formats.md)."""
