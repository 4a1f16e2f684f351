"""How close samples of any model come to real images, in one feature space or several."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dar.errors import DARError, listed
from dar.evaluate.feature_store import BLOCK, FeatureStore, extract
from dar.evaluate.reference import Reference
from dar.evaluate.report import Estimate, Report
from dar.evaluate.sample_file import Samples
from dar.features.extractor import Extractor
from dar.features.inception import NAME as INCEPTION
from dar.images import display_scale, grid, levels_to_images
from dar.metrics.accuracy import class_accuracy
from dar.metrics.bootstrap import confidence, mean_confidence
from dar.metrics.frechet import Moments, frechet_confidence, frechet_distance, full_rank_count
from dar.metrics.inception_score import inception_score
from dar.metrics.precision_recall import precision_and_recall
