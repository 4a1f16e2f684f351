"""Many samples of a model, into the file that the field reads."""
