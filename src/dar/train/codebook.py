"""Keeping the codebook alive: fitting it to data at the start, and re-seeding what falls out of use."""

import torch
from torch import Tensor
from torch.nn import functional as F

KMEANS_ROUNDS = 10


def spherical_kmeans(features_MC: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Unit vectors that represent unit features: M x C -> count x C.

    Clusters that become empty start again at a random feature.
    """

    def random_features() -> Tensor:
        chosen = torch.randint(len(features_MC), (count,), generator=generator, device=features_MC.device)
        return features_MC[chosen]

    centres = random_features()
    for _ in range(KMEANS_ROUNDS):
        nearest = (features_MC @ centres.T).argmax(-1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, features_MC)
        occupied = torch.bincount(nearest, minlength=count) > 0
        centres = torch.where(occupied[:, None], F.normalize(sums, dim=-1), random_features())
    return centres


def reseed(codebook_VC: Tensor, unused_V: Tensor, features_MC: Tensor, generator: torch.Generator) -> None:
    """Put random encoder outputs in the place of unused entries.

    Args:
        codebook_VC: changed in place.
        unused_V: boolean, which entries to replace.
        features_MC: encoder outputs, at unit length.
        generator: chooses among them.
    """
    chosen = torch.randint(len(features_MC), (int(unused_V.sum()),), generator=generator, device=features_MC.device)
    codebook_VC[unused_V] = features_MC[chosen].to(codebook_VC.dtype)
