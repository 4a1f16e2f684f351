from pathlib import Path

import numpy as np
from PIL import Image

from dar.train.log_panels import panels, plot_log

LOG = [
    {
        "step": step,
        "images": 16 * step,
        "seconds": 0.1 * step,
        "learning_rate": 1e-3,
        "loss": 3.0 / step,
        "loss_flow": 2.0 / step,
        "loss_codebook": 0.5 / step**0.5,
        "loss_commitment": 0.125 / step**0.5,
        "gradient_norm": 1.0,
        "memory_gb": 0.5,
        "broken_images": 0,
        "codebook_usage": 1.0,
        "flow_of_group_10": 1.0,
        "flow_of_group_2": 1.0 + step,
    }
    for step in (10, 20, 30)
] + [{"step": 30, "psnr": 15.0}]


def test_main_metrics_come_first_and_groups_share_a_panel() -> None:
    found = panels(LOG)
    assert list(found) == [
        "loss",
        "psnr",
        "flow_of_group",
        "codebook_usage",
        "loss_codebook",
        "gradient_norm",
        "memory_gb",
    ]
    assert list(found["flow_of_group"]) == ["2", "10"]
    assert found["flow_of_group"]["2"] == [(10, 11.0), (20, 21.0), (30, 31.0)]
    assert found["psnr"] == {"": [(30, 15.0)]}


def test_what_is_always_zero_gets_no_panel_until_it_is_not() -> None:
    assert "broken_images" not in panels(LOG)
    assert panels([*LOG, {"step": 40, "broken_images": 1}])["broken_images"][""][-1] == (40, 1)


def test_a_loss_with_a_single_term_is_drawn_once() -> None:
    alike = [{"step": step, "loss": 1 / step, "loss_cross_entropy": 1 / step} for step in (10, 20)]
    assert list(panels(alike)) == ["loss"]
    parts = [{"step": step, "loss": 1 / step + step, "loss_cross_entropy": 1 / step} for step in (10, 20)]
    assert list(panels(parts)) == ["loss", "loss_cross_entropy"]


def test_metrics_that_never_change_are_not_taken_for_each_other() -> None:
    assert list(panels([{"step": 1, "gradient_norm": 1.0, "memory_gb": 0.5}])) == ["gradient_norm", "memory_gb"]


def test_the_picture_has_a_row_for_three_panels(tmp_path: Path) -> None:
    plot_log(LOG, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1215, 810)
        drawn = (np.asarray(picture.convert("L")) < 250).reshape(3, 270, 3, 405).any((1, 3))
    assert drawn[:2].all()
    assert drawn[2].tolist()[::2] == [True, False]


def test_a_log_without_metrics_gives_no_picture(tmp_path: Path) -> None:
    plot_log([{"step": 1, "seconds": 2.0}], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
