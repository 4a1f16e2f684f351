"""Training of the tokenizer and of the prior."""
