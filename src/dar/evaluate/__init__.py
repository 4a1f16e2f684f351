"""Jobs that measure what models make."""
