"""Names of the number formats that models can be loaded in; torch is not needed to check one."""

from dar.errors import DARError, quoted

FLOAT32 = "float32"
"""The format of weights unless another one is asked for, and of records that name none."""

DTYPES = (FLOAT32, "bfloat16", "float16")


def checked_dtype(dtype: object) -> str:
    """Return the name of a dtype, given so, as "torch.bfloat16" or as torch's own object.

    Raises:
        DARError: if models cannot be loaded in it.
    """
    name = plain_name(dtype)
    if name not in DTYPES:
        raise DARError(f"dtype must be one of {', '.join(DTYPES)}, not {quoted(dtype)}")
    return name


def plain_name(dtype: object) -> str:
    """Return what torch calls a dtype, without the package's name: "float32"."""
    return str(dtype).strip().lower().removeprefix("torch.")
