from typing import Any

import pytest

from dar.errors import DARError
from dar.report.compare import check_comparable, compare_reports
from dar.report.report import Estimate, Report
from tests.report import reports


def measured(**estimates: Estimate) -> Report:
    return reports.report(metrics={"space": estimates})


def standings(*found: Report) -> dict[str, list[str]]:
    comparison = compare_reports(found, [str(i) for i in range(len(found))])
    return {row.metric.title: [cell.standing for cell in row.cells] for row in comparison.rows}


def protocol(**changes: Any) -> Report:
    return reports.report(protocol=reports.REPORT.protocol | changes)


def test_reports_of_one_protocol_can_be_compared() -> None:
    check_comparable(reports.REPORT, reports.report(subject={"model": "other"}, metrics={}, environment={}))
    check_comparable(reports.REPORT, protocol(num=50000.0))


def test_every_difference_is_named_with_both_values_and_the_remedy() -> None:
    other = protocol(
        reference={"name": "train", "hash": "34" * 32, "images": 7}, num=10000, extractors={"small": "cd" * 32}
    )
    with pytest.raises(DARError) as caught:
        check_comparable(reports.REPORT, other, ("a.json", "b.json"))
    said = str(caught.value)
    assert "a.json and b.json were measured differently" in said
    for difference in (
        "reference.hash is 121212121212 and 343434343434;",
        "reference.images is absent and 7",
        "num is 50000 and 10000;",
        "extractors.inception-2015 is abababababab and absent;",
        "extractors.small is absent and cdcdcdcdcdcd",
        "by --num and --reference",
    ):
        assert difference in said
    assert "balanced" not in said
    assert "reference.name" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("value", "other", "said"),
    [
        ("12" * 31 + "00", "12" * 31 + "99", "constant is '" + "12" * 31 + "00' and '" + "12" * 31 + "99'"),
        (None, "null", "constant is None and 'null'"),
        (1, "1", "constant is 1 and '1'"),
        ([1, 2], [1, 3], "constant is 1, 2 and 1, 3"),
        ({}, {"deep": 1}, "constant is {} and absent; constant.deep is absent and 1"),
        ("x" * 5000 + "a", "x" * 5000 + "b", "xa' and ...xx"),
        ("a\nb", "a\x1b[31m", "constant is a b and a [31m"),
    ],
)
def test_values_are_told_so_that_they_can_be_told_apart(value: Any, other: Any, said: str) -> None:
    with pytest.raises(DARError) as caught:
        check_comparable(protocol(constant=value), protocol(constant=other))
    assert said in str(caught.value)
    with pytest.raises(DARError, match="constant is absent and"):
        check_comparable(reports.REPORT, protocol(constant="absent"))


def test_kinds_must_be_the_same() -> None:
    with pytest.raises(DARError, match="the first report is an evaluation of generation and the second one of layout"):
        check_comparable(reports.REPORT, reports.report(kind="layout"))


def test_every_report_is_checked() -> None:
    with pytest.raises(DARError, match="a and c were measured differently"):
        compare_reports([reports.REPORT, reports.REPORT, protocol(num=1)], ["a", "b", "c"])


@pytest.mark.parametrize("count", [0, 1])
def test_one_report_is_no_comparison(count: int) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compare_reports([reports.REPORT] * count, ["a"] * count)


def test_the_best_is_marked_by_the_metric_s_own_direction() -> None:
    low, high = Estimate(1.0, 0.9, 1.1), Estimate(2.0, 1.9, 2.1)
    found = standings(
        measured(fid=low, recall=low, own=low, ssim=low), measured(fid=high, recall=high, own=high, ssim=low)
    )
    assert found == {"FID": ["best", ""], "recall": ["", "best"], "own": ["", ""], "SSIM": ["", ""]}


def test_what_overlaps_with_the_best_is_within_noise() -> None:
    values = (Estimate(5.0, 4.0, 6.0), Estimate(5.5, 5.0, 7.0), Estimate(6.5, 6.01, 7.0), Estimate(6.5, 6.0, 7.0))
    assert standings(*(measured(fid=value) for value in values)) == {"FID": ["best", "noise", "", "noise"]}
    without = (Estimate(5.0), Estimate(5.0001), Estimate(5.0, 4.0, 6.0))
    assert standings(*(measured(fid=value) for value in without)) == {"FID": ["best", "", "best"]}


def test_figures_that_one_report_lacks_are_absent() -> None:
    comparison = compare_reports([measured(fid=Estimate(1.0)), measured(recall=Estimate(0.5))], ["a", "b"])
    assert [[str(cell) for cell in row.cells] for row in comparison.rows] == [["1.00", "absent"], ["absent", "0.500"]]


def test_the_table_holds_figures_and_differences() -> None:
    other = reports.report(
        subject={"model": {"path": "runs/b", "hash": "7e" * 32}, "guidance": [1.0, 5.0], "seed": 0},
        metrics={"inception-2015": {"fid": Estimate(12.5, 12.0, 13.0)}},
    )
    text = compare_reports([reports.REPORT, other], ["a", "b"]).text()
    words = [" ".join(line.split()) for line in text.splitlines()]
    assert "inception-2015 FID lower 12.35 (11.90 to 12.80) * 12.50 (12.00 to 13.00) ~" in words
    assert "model.hash 9f9f9f9f9f9f 7e7e7e7e7e7e" in words
    assert "model.path runs/a runs/b" in words
    assert "recipe null absent" in words
    assert "guidance" not in text
    header, _, fid, precision, *_ = text.splitlines()
    assert header.index(" a ") + 1 == fid.index("12.35") == precision.index("0.500")
    assert "tell of no difference" in compare_reports([reports.REPORT] * 2, ["a", "b"]).text()


def test_markdown_finds_no_meaning_in_names() -> None:
    hostile = "a|b\n<script> *x* [link](http://evil.example) `c`"
    text = compare_reports([reports.REPORT, reports.REPORT], [hostile, "b"]).markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    bars = {len(line.replace("\\|", "").split("|")) for line in table}
    assert len(table) == 2 + 4
    assert bars == {5 + 2}
    assert r"a\|b \<script\> \*x\* \[link\](http://evil.example) \`c\`" in table[0]
