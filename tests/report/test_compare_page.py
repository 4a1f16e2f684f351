import dataclasses

import pytest

from dar.errors import DARError
from dar.report.compare_page import comparison_page
from dar.report.report import Estimate
from tests.report import reports
from tests.report.test_page import Page, assert_self_contained, hostile_report


def test_curves_of_one_title_are_drawn_together() -> None:
    names = ["one", "two", "three"]
    other = reports.report(metrics={"inception-2015": {"fid": Estimate(12.5, 12.0, 13.0)}}, subject={"seed": 4})
    page = Page(comparison_page([reports.REPORT, other, reports.REPORT], names))
    assert_self_contained(page)
    first, second = (attributes["alt"] or "" for _, attributes in page.images())
    assert "for one and two and three;" in first
    assert "for one: linear and two: linear and three: linear;" in second
    words = " ".join(page.text.split())
    assert "FID ↓ 12.35 (11.90 to 12.80) * 12.50 (12.00 to 13.00) ~ 12.35" in words
    assert "seed 0 4 0" in words


def test_hostile_text_stays_text() -> None:
    page = Page(comparison_page([hostile_report(), hostile_report()], [reports.HOSTILE, "b"]))
    assert_self_contained(page)
    assert page.text.count(reports.HOSTILE) >= 5


def test_reports_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(DARError, match="num is 50000 and 1:"):
        comparison_page([reports.REPORT, reports.report(protocol=reports.REPORT.protocol | {"num": 1})], ["a", "b"])
    with pytest.raises(DARError, match="different axes"):
        comparison_page(
            [reports.REPORT, reports.report(curves=(dataclasses.replace(reports.CURVE, x_name="other"),))], ["a", "b"]
        )
