from dar.inspection.captions import MAX_EXAMPLES, Captions


def test_summary() -> None:
    captions = Captions()
    for text in ("a cat", "a dog", "a cat", "a very old dog indeed", "one"):
        captions.add(text)
    summary = captions.summary()
    assert summary is not None
    assert (summary.count, summary.distinct, summary.median_words, summary.most_words) == (5, 4, 2, 5)
    assert summary.examples == ("a cat", "a dog", "a very old dog indeed", "one")


def test_examples_are_few_and_on_one_line() -> None:
    captions = Captions()
    for i in range(99):
        captions.add(f"caption\n{i} \udcff")
    summary = captions.summary()
    assert summary is not None
    assert len(summary.examples) == MAX_EXAMPLES
    assert all("\n" not in example for example in summary.examples)


def test_none() -> None:
    assert Captions().summary() is None
