import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dar.errors import DARError
from dar.samples.archive import write_samples
from dar.samples.folder import write_pngs
from dar.samples.opening import open_samples


def uint8_images(count: int, height: int = 5, width: int = 4) -> np.ndarray:
    return np.random.RandomState(7).randint(0, 256, (count, height, width, 3)).astype(np.uint8)


def pieces(images: np.ndarray, size: int = 3) -> Iterator[np.ndarray]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


def write(path: Path, images: np.ndarray, size: int = 3) -> Path:
    write_samples(path, pieces(images, size), images.shape, np.arange(len(images)) % 3)
    return path


def test_numpy_reads_what_is_written(tmp_path: Path) -> None:
    images = uint8_images(7)
    with np.load(write(tmp_path / "a.npz", images), allow_pickle=False) as found:
        assert found.files == ["arr_0", "arr_1"]
        assert found["arr_0"].dtype == np.uint8
        assert found["arr_0"].flags.c_contiguous
        assert np.array_equal(found["arr_0"], images)
        assert found["arr_1"].dtype == np.int64
        assert found["arr_1"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


def test_equal_samples_are_equal_bytes_however_they_come(tmp_path: Path) -> None:
    images = uint8_images(7)
    first, second = write(tmp_path / "a.npz", images, 3), write(tmp_path / "b.npz", images, 2)
    assert first.read_bytes() == second.read_bytes()
    assert open_samples(first).hash == open_samples(second).hash
    images[6, 4, 3, 2] ^= 1
    assert open_samples(write(tmp_path / "c.npz", images)).hash != open_samples(first).hash


def test_batches_are_the_images_in_order(tmp_path: Path) -> None:
    images = uint8_images(7)
    np.savez_compressed(tmp_path / "deflated.npz", images)
    np.savez(tmp_path / "reference.npz", arr_0=images, arr_1=np.arange(7, dtype=np.int32), mu=np.zeros(2))
    write(tmp_path / "own.npz", images)
    write_pngs(open_samples(tmp_path / "own.npz"), tmp_path / "pngs", batch_size=4)
    for name in ("deflated.npz", "reference.npz", "own.npz", "pngs"):
        samples = open_samples(tmp_path / name)
        assert (len(samples), samples.height, samples.width) == (7, 5, 4)
        batches = list(samples.batches(3))
        assert [tuple(batch.shape) for batch in batches] == [(3, 3, 5, 4), (3, 3, 5, 4), (1, 3, 5, 4)]
        assert torch.equal(torch.cat(batches).permute(0, 2, 3, 1), torch.from_numpy(images))
        assert torch.equal(torch.cat(list(samples.batches(100))), torch.cat(batches))
    assert open_samples(tmp_path / "deflated.npz").labels is None
    assert open_samples(tmp_path / "pngs").labels is None
    labels = open_samples(tmp_path / "reference.npz").labels
    assert labels is not None
    assert (labels.dtype, labels.tolist()) == (torch.int64, list(range(7)))


def test_a_file_beyond_four_gigabytes_has_64_bit_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = uint8_images(7)
    small = write(tmp_path / "small.npz", images).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 100)  # as if 101 bytes were more than 4 GB
        path = write(tmp_path / "large.npz", images)
    assert b"PK\x06\x06" not in small
    assert b"PK\x06\x06" in path.read_bytes()  # the 64-bit end of the directory
    end_of_data = small.index(b"PK\x01\x02")
    assert path.read_bytes()[:end_of_data] == small[:end_of_data]  # local headers are always ready for 64 bits
    with np.load(path, allow_pickle=False) as found:
        assert np.array_equal(found["arr_0"], images)
    assert torch.equal(next(open_samples(path).batches(7)).permute(0, 2, 3, 1), torch.from_numpy(images))


def test_writer_and_reader_hold_one_piece_at_a_time(tmp_path: Path) -> None:
    """Peak of Python's and NumPy's own memory: 200 images are 10 MB."""
    import tracemalloc

    one = np.zeros((4, 128, 128, 3), np.uint8)
    tracemalloc.start()
    write_samples(tmp_path / "a.npz", (one for _ in range(50)), (200, 128, 128, 3), np.zeros(200, np.int64))
    assert sum(len(batch) for batch in open_samples(tmp_path / "a.npz").batches(4)) == 200
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2e6


def test_pieces_that_do_not_fit_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    images = uint8_images(7)
    for wrong in ([images[:5]], [images, images], [images.astype(np.float32)], [images[:, :4]]):
        with pytest.raises(ValueError, match="were to be"):
            write_samples(tmp_path / "a.npz", wrong, images.shape, np.zeros(7, np.int64))
    with pytest.raises(ValueError, match="6 labels were given for 7 images"):
        write_samples(tmp_path / "a.npz", [images], images.shape, np.zeros(6, np.int64))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"arr_0": uint8_images(4) / 255}, "images of float64: multiply to 0 to 255, round, and save them as uint8"),
        ({"arr_0": uint8_images(4).astype(np.int64)}, "images of int64"),
        ({"arr_0": uint8_images(4).transpose(0, 3, 1, 2).copy()}, "N x 3 x H x W: transpose them"),
        ({"arr_0": uint8_images(4)[..., :1]}, "4 x 5 x 4 x 1: images must be N x H x W x 3"),
        ({"arr_0": uint8_images(4)[0]}, "5 x 4 x 3: images must be"),
        ({"arr_0": np.uint8(3)}, "a single number: images must be"),
        ({"arr_0": uint8_images(0)}, "holds no images, but an array of 0 x 5 x 4 x 3"),
        ({"arr_0": np.asfortranarray(uint8_images(4))}, "Fortran order"),
        ({"arr_0": np.array([{"a": 1}, None], dtype=object)}, "pickled objects, which are never loaded"),
        ({"images": uint8_images(4)}, r"holds images.npy: images must be in arr_0.npy"),
        ({"mu": np.zeros(3), "sigma": np.zeros(3)}, r"holds mu.npy, sigma.npy: images must be in arr_0.npy"),
        ({"arr_0": uint8_images(4), "arr_1": np.arange(3)}, "4 images, and labels .* that are 3 int64"),
        ({"arr_0": uint8_images(4), "arr_1": np.zeros(4)}, "labels .* that are 4 float64"),
        ({"arr_0": uint8_images(4), "arr_1": np.array([0, 1, -1, 2])}, "holds the label -1"),
        ({"arr_0": uint8_images(4), "arr_1": np.array([None] * 4)}, "pickled objects"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DARError, match=said) as caught:
        open_samples(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_truncated_zips_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.npz", uint8_images(7)).read_bytes()
    for length in (0, 10, 200, len(whole) - 30, len(whole) - 1):
        (tmp_path / "a.npz").write_bytes(whole[:length])
        with pytest.raises(DARError, match=r"a\.npz is not a whole \.npz file of samples .*copy or write it again"):
            open_samples(tmp_path / "a.npz")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_flipped_bits_are_noticed(tmp_path: Path, compression: int) -> None:
    saved = io.BytesIO()
    np.save(saved, uint8_images(7))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", compression) as archive:
        archive.writestr("arr_0.npy", saved.getvalue())
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[-300] ^= 0x10
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DARError, match="is not a whole"):
        list(open_samples(tmp_path / "a.npz").batches(3))


def npy(header: bytes, version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2 if version == 1 else 4, "little") + header


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"\x93NUMPY",
        b"text",
        npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 256, 256, 3), }\n") + bytes(100),
        npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 4, 4, 3), }\n") + bytes(100),
        npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2, 3), }\n") + bytes(23),
        npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2, 3), }\n") + bytes(25),
        npy(b"{'descr': 'nonsense', 'fortran_order': False, 'shape': (2, 2, 2, 3), }\n") + bytes(24),
        npy(b"__import__('os').system('false')\n") + bytes(24),
        npy(b"(" * 5000 + b"\n"),
        npy(b"-" * 9000 + b"1\n"),
        npy(b"{[]: 1}\n"),
        npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2, 2, 3), }\n", version=3) + bytes(24),
    ],
)
def test_hostile_arrays_are_refused_in_one_sentence(tmp_path: Path, member: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", member)
    with pytest.raises(DARError, match="is not a whole") as caught:
        open_samples(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_uncommon_zips_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("arr_0.npy", b"anything")
    with pytest.raises(DARError, match=r"compressed in an uncommon way: write it with numpy\.savez"):
        open_samples(tmp_path / "a.npz")
    content = bytearray(write(tmp_path / "a.npz", uint8_images(7)).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # says that it is encrypted
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DARError, match="is not a whole"):
        open_samples(tmp_path / "a.npz")


def test_labels_beyond_what_counts_are_refused(tmp_path: Path) -> None:
    labels = np.array([0, 2**64 - 1], np.uint64)
    np.savez(tmp_path / "far.npz", arr_0=np.zeros((2, 4, 4, 3), np.uint8), arr_1=labels)
    with pytest.raises(DARError, match="18446744073709551615"):
        open_samples(tmp_path / "far.npz")
