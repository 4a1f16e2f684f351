"""Inputs of a training pass of the tokenizer beside images, and its output."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ReachedStates:
    """States that the sampler reaches by its own steps, for some of B images in training.

    Attributes:
        own: B, booleans: which images have such a state.
        states: B x 3 x H x W, scaled as the flow is; what stands for the other images is not looked at.
    """

    own: Tensor
    states: Tensor


@dataclass(frozen=True)
class TokenizerOutput:
    """Result of one training pass, for B images.

    Attributes:
        codes: B x N, int64.
        latents: B x N x codebook_dim, the encoder's output at unit length.
        entries: B x N x codebook_dim, the nearest codebook entries.
        group: B, the token group that each image's clock chose.
        time: B, the time that it chose, in [0, 1).
        on_path: B, whether the velocity was predicted on the straight path to the image; if not, in a state that the
            sampler reached by itself, where ``target_velocity`` does not lead to the image.
        velocity: B x 3 x H x W, the prediction.
        target_velocity: B x 3 x H x W, scaled image minus noise.
        predicted_image: B x 3 x H x W, the image that the prediction leads to, not clamped.
        hidden: the diffusion decoder's patch tokens before each of its blocks, B x T x decoder_width each.
    """

    codes: Tensor
    latents: Tensor
    entries: Tensor
    group: Tensor
    time: Tensor
    on_path: Tensor
    velocity: Tensor
    target_velocity: Tensor
    predicted_image: Tensor
    hidden: tuple[Tensor, ...]
