from pathlib import Path

import dar
from dar.errors import MAX_SENTENCE, DARError, printable


def test_sentences_are_one_line_of_printable_letters() -> None:
    assert str(DARError("a\x1b[31m\r\n\u202eb\udcff: check it")) == "a?[31m???b?: check it"
    assert printable("naïve 日本 🙂 file.png") == "naïve 日本 🙂 file.png"


def test_long_sentences_keep_the_thing_and_the_remedy() -> None:
    said = str(DARError(f"there is no model at {'x' * 10**6}: check the path"))
    assert len(said) == MAX_SENTENCE
    assert said.startswith("there is no model at xxx")
    assert said.endswith("xxx: check the path")
    assert " ... " in said


def test_lines_are_printed_in_two_places_alone_which_make_them_printable() -> None:
    package = Path(dar.__file__).parent
    printing = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(call in path.read_text(encoding="utf-8") for call in ("typer.echo(", "tqdm.write(", " print("))
    }
    assert printing == {"cli/options.py", "progress.py"}
