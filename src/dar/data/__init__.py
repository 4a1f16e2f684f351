"""Labelled images: found on the disk or the Hub, read one by one or as they go by, augmented and in batches.

Nothing heavy is imported here: torch and datasets load when a name below is first used.
"""

from typing import TYPE_CHECKING

from dar.lazily import lazily

if TYPE_CHECKING:
    from dar.data.augmentation import Augmentation
    from dar.data.classes import UNLABELLED
    from dar.data.crops import CenterCropDecoder, CroppedImages
    from dar.data.dataset import ImageDataset
    from dar.data.found import LeftOut
    from dar.data.opening import Images, open_images, preview_pixels
    from dar.data.order import EndlessOrder, MicroBatches
    from dar.data.stream import Batch, ImageStream, training_stream
    from dar.data.streamed import StreamedImages
    from dar.data.summary import DataSummary
    from dar.data.unreadable import BrokenImage, BrokenImages
    from dar.data.workers import in_workers

__all__ = [
    "UNLABELLED",
    "Augmentation",
    "Batch",
    "BrokenImage",
    "BrokenImages",
    "CenterCropDecoder",
    "CroppedImages",
    "DataSummary",
    "EndlessOrder",
    "ImageDataset",
    "ImageStream",
    "Images",
    "LeftOut",
    "MicroBatches",
    "StreamedImages",
    "in_workers",
    "open_images",
    "preview_pixels",
    "training_stream",
]

_HOMES = {
    "Augmentation": "dar.data.augmentation",
    "Batch": "dar.data.stream",
    "BrokenImage": "dar.data.unreadable",
    "BrokenImages": "dar.data.unreadable",
    "CenterCropDecoder": "dar.data.crops",
    "CroppedImages": "dar.data.crops",
    "DataSummary": "dar.data.summary",
    "EndlessOrder": "dar.data.order",
    "ImageDataset": "dar.data.dataset",
    "ImageStream": "dar.data.stream",
    "Images": "dar.data.opening",
    "LeftOut": "dar.data.found",
    "MicroBatches": "dar.data.order",
    "StreamedImages": "dar.data.streamed",
    "UNLABELLED": "dar.data.classes",
    "in_workers": "dar.data.workers",
    "open_images": "dar.data.opening",
    "preview_pixels": "dar.data.opening",
    "training_stream": "dar.data.stream",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
