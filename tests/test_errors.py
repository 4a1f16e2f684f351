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
