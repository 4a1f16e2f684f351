"""Other models of the field, in small, trained beside D-AR by ``benchmarks.quality``."""
