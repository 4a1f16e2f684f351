"""The sequential diffusion tokenizer: image -> tokens -> image (arXiv 2505.23660)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dar.errors import DARError
from dar.flow import Step, group_at, interpolate, schedule, shifted_time
from dar.hub import CARD_TEMPLATE, HubModel
from dar.randomness import Seed, draw_noise, image_seeds
from dar.solvers import SOLVERS, Solver, SolverState, advance, check_solver
from dar.tokenizer.config import TokenizerConfig
from dar.tokenizer.diffusion_decoder import DiffusionDecoder
from dar.tokenizer.encoder import Encoder
from dar.tokenizer.latent_decoder import LatentDecoder
from dar.tokenizer.quantizer import Quantizer

DEFAULT_SOLVER = "adams-bashforth-2"


@dataclass(frozen=True)
class TokenizerOutput:
    """What one training pass computed, for B images.

    Attributes:
        codes: B x N, int64.
        features: B x N x codebook_dim, the encoder's output at unit length.
        entries: B x N x codebook_dim, the nearest codebook entries.
        group: B, the token group that each image's clock chose.
        velocity: B x 3 x H x W, the prediction.
        target_velocity: B x 3 x H x W, scaled image minus noise.
        predicted_image: B x 3 x H x W, the image that the prediction leads to, not clamped.
        hidden: the diffusion decoder's patch tokens before each of its blocks, B x T x decoder_width each.
    """

    codes: Tensor
    features: Tensor
    entries: Tensor
    group: Tensor
    velocity: Tensor
    target_velocity: Tensor
    predicted_image: Tensor
    hidden: tuple[Tensor, ...]


class SequentialDiffusionTokenizer(nn.Module, HubModel, library_name="dar", model_card_template=CARD_TEMPLATE):
    """Turns an image into N tokens, coarse to fine, and tokens into an image, one denoising step a group.

    Args:
        config: sizes.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quantizer = Quantizer(config)
        self.latent_decoder = LatentDecoder(config)
        self.diffusion_decoder = DiffusionDecoder(config)

    def forward(self, pixels: Tensor, u: Tensor, noise: Tensor, quantised: bool = True) -> TokenizerOutput:
        """The training pass: encode, quantise, and predict the velocity at each image's own clock.

        Args:
            pixels: B x 3 x H x W in [-1, 1].
            u: B clocks in [0, 1), which choose time and token group.
            noise: B x 3 x H x W standard normal.
            quantised: False lets the features themselves pass to the decoder, as at the start of a training.

        Returns:
            All that the losses need.
        """
        config = self.config
        features = F.normalize(self.encoder(pixels).float(), dim=-1)
        codes = self.quantizer.nearest(features)
        entries = self.quantizer.lookup(codes)
        latents = features + (entries - features).detach() if quantised else features  # straight-through
        conditions = self.latent_decoder(latents).unflatten(1, (config.num_groups, -1))  # B K q D
        group = group_at(u, config.num_groups)
        condition = conditions[torch.arange(len(u), device=u.device), group]

        image = config.data_std * pixels
        t = shifted_time(u, config.time_shift)
        x_t = interpolate(image, noise, t)
        predicted, hidden = self.diffusion_decoder.forward_with_hidden(x_t, t.float(), condition)
        velocity = predicted.float()
        return TokenizerOutput(
            codes=codes,
            features=features,
            entries=entries,
            group=group,
            velocity=velocity,
            target_velocity=image - noise,
            predicted_image=(x_t + (1 - t).view(-1, 1, 1, 1) * velocity) / config.data_std,
            hidden=hidden,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.quantizer.codebook.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.quantizer.codebook.dtype

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Tokens of images; deterministic.

        Args:
            pixels: B x 3 x H x W in [-1, 1], H = W = ``config.image_size``.

        Returns:
            B x N, int64, in [0, codebook_size).

        Raises:
            DARError: if the shape is another one, or a value is not finite.
        """
        size = self.config.image_size
        if pixels.dim() != 4 or tuple(pixels.shape[1:]) != (3, size, size):
            raise DARError(f"images must be B x 3 x {size} x {size}, not {' x '.join(map(str, pixels.shape))}")
        if not pixels.isfinite().all():
            raise DARError("images must be finite numbers in [-1, 1]; these hold NaN or infinity")
        return self.quantizer.nearest(self.encoder(pixels.to(self.device, self.dtype)))

    @torch.no_grad()
    def decode(
        self,
        tokens: Tensor,
        seed: Seed = 0,
        noise: Tensor | None = None,
        steps: int | None = None,
        solver: str = DEFAULT_SOLVER,
        num_tokens: int | None = None,
    ) -> Tensor:
        """Images of tokens.

        Args:
            tokens: B x N, int64; fewer columns will do where ``num_tokens`` allows it.
            seed: seeds the noise; see ``dar.randomness.Seed``. The pipeline draws the same noise from the same seed.
            noise: B x 3 x H x W standard normal, instead of a seed.
            steps: S, denoising steps; ``config.num_steps`` unless told.
            solver: "adams-bashforth-2" or "euler".
            num_tokens: decode from this many first tokens, as a preview does: only the steps whose whole group is
                among them run, and the last of them goes all the way to the image. N unless told.

        Returns:
            B x 3 x H x W in [-1, 1].

        Raises:
            DARError: if the tokens, their number, the noise or the solver do not fit.
        """
        group = self.config.tokens_per_group
        if num_tokens is None:
            num_tokens = self.config.num_tokens
        if not group <= num_tokens <= self.config.num_tokens:
            raise DARError(f"num_tokens must lie between {group} and {self.config.num_tokens}, not {num_tokens}")
        self._check_tokens(tokens, num_tokens)
        if noise is not None and len(noise) != len(tokens):
            raise DARError(f"{len(noise)} noise images were given for the tokens of {len(tokens)} images")
        if noise is None:
            noise = draw_noise(image_seeds(seed, len(tokens)), self.config.image_size)
        groups = tokens[:, : num_tokens // group * group].split(group, dim=1)
        *_, image = self.denoise(groups, noise, steps, solver)
        return image

    def denoise(
        self,
        groups: Iterable[Tensor],
        noise: Tensor,
        steps: int | None = None,
        solver: str = DEFAULT_SOLVER,
    ) -> Iterator[Tensor]:
        """Denoise while token groups arrive: one network call a step, one image after each.

        A group is taken from ``groups`` just before the first step that needs it, so that a step runs as soon as its
        tokens exist. Where the groups end early, so do the steps.

        Args:
            groups: tensors B x q of tokens, int64, in order.
            noise: B x 3 x H x W standard normal.
            steps: S, denoising steps; ``config.num_steps`` unless told.
            solver: "adams-bashforth-2" or "euler".

        Returns:
            An iterator that gives, after each step, the estimate of the final image, B x 3 x H x W in [-1, 1]; after
            step S, the image itself.

        Raises:
            DARError: at the call, if the noise has another shape, the solver is unknown, or there is no step.
        """
        config = self.config
        check_solver(solver)
        if tuple(noise.shape[1:]) != (3, config.image_size, config.image_size):
            raise DARError(f"noise must be B x 3 x {config.image_size} x {config.image_size}, not {tuple(noise.shape)}")
        if steps is not None and steps < 1:
            raise DARError(f"at least 1 denoising step is needed, not {steps}")
        timetable = schedule(steps or config.num_steps, config.num_groups, config.time_shift)
        return self._denoise(groups, noise.to(self.device, self.dtype), timetable, SOLVERS[solver])

    @torch.no_grad()
    def _denoise(
        self, groups: Iterable[Tensor], noise: Tensor, timetable: list[Step], solver: Solver
    ) -> Iterator[Tensor]:
        state = SolverState(noise)
        conditions = enumerate(self._conditions(groups))
        group, condition = -1, noise  # none yet
        for step in timetable:
            while group < step.group:
                try:
                    group, condition = next(conditions)
                except StopIteration:
                    return
            velocity = partial(self.velocity, t=step.start, condition_BqD=condition)
            state, preview = advance(state, velocity, solver, step.start, step.end)
            yield (preview / self.config.data_std).clamp(-1, 1)

    def velocity(self, x_B3HW: Tensor, t: float | Tensor, condition_BqD: Tensor) -> Tensor:
        """Velocity of the flow at scaled, noisy images.

        Args:
            x_B3HW: points of the path; images are scaled by ``config.data_std``.
            t: one time in [0, 1) for all, or B times.
            condition_BqD: conditions of one group.

        Returns:
            B x 3 x H x W.
        """
        t_B = torch.as_tensor(t, dtype=torch.float32, device=x_B3HW.device).expand(len(x_B3HW))
        return self.diffusion_decoder(x_B3HW, t_B, condition_BqD)

    def condition(self, tokens: Tensor) -> Tensor:
        """Conditions of all tokens at once: B x T int64 -> B x T x D; condition i depends on tokens <= i only."""
        return self.latent_decoder(self.quantizer.lookup(tokens.to(self.device)))

    def _conditions(self, groups: Iterable[Tensor]) -> Iterator[Tensor]:
        """Condition of each group as it arrives."""
        cache, start = self.latent_decoder.new_cache(), 0
        for group in groups:
            yield self.latent_decoder(self.quantizer.lookup(group.to(self.device)), start, cache)
            start += group.shape[1]

    def _check_tokens(self, tokens: Tensor, num_tokens: int) -> None:
        config = self.config
        if tokens.is_floating_point() or tokens.is_complex():
            raise DARError(f"tokens must be whole numbers, not {tokens.dtype}")
        if tokens.dim() != 2 or not len(tokens) or not num_tokens <= tokens.shape[1] <= config.num_tokens:
            shape = " x ".join(map(str, tokens.shape))
            raise DARError(f"tokens must be B x {config.num_tokens}, and at least {num_tokens} wide, not {shape}")
        if not 0 <= int(tokens.min()) <= int(tokens.max()) < config.codebook_size:
            low, high = int(tokens.min()), int(tokens.max())
            raise DARError(f"tokens must lie in 0 to {config.codebook_size - 1}; these reach from {low} to {high}")
