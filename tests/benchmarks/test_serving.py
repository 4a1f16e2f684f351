from benchmarks.serving import Answer, served_meanwhile


def test_each_image_counts_those_answered_while_it_waited_and_itself() -> None:
    one_by_one = [Answer(200, start=0.0, seconds=float(i)) for i in (1, 2, 3)]
    late = Answer(200, start=1.5, seconds=0.25)
    assert served_meanwhile([*one_by_one, late]) == [1, 1, 3, 4]
