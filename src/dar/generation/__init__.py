"""What generation is asked for, and what it gives."""
