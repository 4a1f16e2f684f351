import torch
from torch.nn import functional as F

from dar.train.codebook import reseed, spherical_kmeans


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_kmeans_finds_separated_clusters() -> None:
    directions = torch.eye(4)
    noise = 0.05 * torch.randn(200, 4, generator=seeded())
    features = F.normalize(directions.repeat(50, 1) + noise, dim=-1)
    for seed in range(5):
        centres = spherical_kmeans(features, 16, seeded(seed))
        torch.testing.assert_close(centres.norm(dim=-1), torch.ones(16))
        assert ((centres @ directions.T).amax(0) > 0.98).all(), "each cluster has a centre"
        assert ((centres @ features.T).amax(-1) > 0.9).all(), "each centre has a cluster"


def test_kmeans_beats_random_features() -> None:
    features = F.normalize(torch.randn(500, 8, generator=seeded()), dim=-1)
    fitted = (features @ spherical_kmeans(features, 16, seeded(1)).T).amax(-1).mean()
    drawn = (features @ features[torch.randperm(500, generator=seeded(1))[:16]].T).amax(-1).mean()
    assert fitted > drawn + 0.02


def test_kmeans_repeats_with_its_generator() -> None:
    features = F.normalize(torch.randn(50, 4, generator=seeded()), dim=-1)
    assert torch.equal(spherical_kmeans(features, 8, seeded(1)), spherical_kmeans(features, 8, seeded(1)))


def test_kmeans_with_fewer_features_than_centres_gives_features() -> None:
    features = torch.eye(3)
    centres = spherical_kmeans(features, 10, seeded())
    assert {tuple(centre) for centre in centres.tolist()} <= {tuple(row) for row in features.tolist()}
    assert len(centres) == 10


def test_reseed_puts_features_in_the_place_of_unused_entries_only() -> None:
    codebook = torch.randn(6, 4, generator=seeded())
    features = F.normalize(torch.randn(5, 4, generator=seeded(1)), dim=-1)
    before = codebook.clone()
    unused = torch.tensor([False, True, False, True, True, False])
    reseed(codebook, unused, features, seeded(2))
    assert torch.equal(codebook[~unused], before[~unused])
    rows = {tuple(row) for row in features.tolist()}
    assert all(tuple(row) in rows for row in codebook[unused].tolist())


def test_reseed_with_nothing_unused_changes_nothing() -> None:
    codebook = torch.randn(6, 4, generator=seeded())
    before = codebook.clone()
    reseed(codebook, torch.zeros(6, dtype=torch.bool), torch.randn(5, 4), seeded())
    assert torch.equal(codebook, before)


def test_reseed_keeps_the_codebooks_dtype() -> None:
    codebook = torch.zeros(2, 4, dtype=torch.bfloat16)
    reseed(codebook, torch.tensor([True, False]), torch.ones(3, 4), seeded())
    assert codebook.tolist() == [[1] * 4, [0] * 4]
