"""The command line: ``dar`` and its commands."""

import errno
import gc
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dar import __version__
from dar.cli import (
    convert,
    data,
    demo,
    evaluate,
    generate,
    info,
    llama,
    options,
    reconstruct,
    sample,
    serve,
    tokenize,
    train,
)
from dar.cli.threads import share_cores
from dar.errors import DARError, quoted

_ABOUT_PATHS = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS}
"""Numbers of errors that another path mends, wherever they come up."""


class _Commands(TyperGroup):
    """The group of all commands: Ctrl-C ends each with a message, also those that have none of their own."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with options.interruptible("files that are there are whole"), options.noticing_ctrl_c():
            return super().invoke(ctx)


app = typer.Typer(
    name="dar",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        options.say(f"dar {__version__}")
        raise typer.Exit


@app.callback()
def dar(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version, and exit.")
    ] = False,
) -> None:
    """D-AR: diffusion via autoregressive models."""


app.command("demo")(demo.demo)
app.command("generate")(generate.generate)
app.command("sample")(sample.sample)
app.command("reconstruct")(reconstruct.reconstruct)
app.command("serve")(serve.serve)
app.command("info")(info.info)
app.command("tokenize")(tokenize.tokenize)
app.command("data")(data.data)
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.command("convert")(convert.convert)
app.add_typer(llama.export_app, name="export")
app.add_typer(llama.import_app, name="import")


def main() -> None:
    """Run the command line: bad input ends with one sentence and exit code 2."""
    share_cores()
    if not sys.stderr.isatty():
        # Bars of libraries would fill a log; they read this when they are imported.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except DARError as error:
        options.say(f"error: {error}", error=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _ABOUT_PATHS or error.filename is None:
            raise
        path = quoted(os.fsdecode(error.filename))
        options.say(f"error: {path} cannot be used ({error.strerror}): choose another path", error=True)
        sys.exit(2)
    finally:
        gc.unfreeze()  # what ``loading`` froze, for a program that goes on
