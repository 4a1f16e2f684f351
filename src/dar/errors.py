"""The one exception that stands for bad input."""


class DARError(ValueError):
    """Bad input, told in one sentence that names the thing and the remedy.

    The command line prints the sentence and exits with code 2; programs can catch it as a
    ``ValueError``.
    """
