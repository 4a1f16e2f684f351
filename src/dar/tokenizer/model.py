"""The sequential diffusion tokenizer: image -> tokens -> image (arXiv 2505.23660)."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dar.checks import whole_number
from dar.errors import DARError
from dar.flow import Clock, interpolate
from dar.hub import CARD_TEMPLATE, HubModel
from dar.images import Picture, listed_pictures, square_pixels
from dar.randomness import Seed, draw_noise, image_seeds
from dar.solvers import DEFAULT_SOLVER, check_steps, solver_named
from dar.tokenizer.checks import check_pixels, check_tokens
from dar.tokenizer.config import TokenizerConfig
from dar.tokenizer.denoising import DenoisingState
from dar.tokenizer.diffusion_decoder import DiffusionDecoder
from dar.tokenizer.encoder import Encoder
from dar.tokenizer.latent_decoder import LatentDecoder
from dar.tokenizer.output import ReachedStates, TokenizerOutput
from dar.tokenizer.quantizer import Quantizer


class SequentialDiffusionTokenizer(nn.Module, HubModel, library_name="dar", model_card_template=CARD_TEMPLATE):
    """Turns an image into N tokens, coarse to fine, and tokens into an image, one denoising step a group.

    Args:
        config: sizes.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.clock = Clock(config.num_groups, config.time_shift, config.final_steps)
        self.encoder = Encoder(config)
        self.quantizer = Quantizer(config)
        self.latent_decoder = LatentDecoder(config)
        self.diffusion_decoder = DiffusionDecoder(config)

    def forward(
        self, pixels: Tensor, u: Tensor, noise: Tensor, quantised: bool = True, reached: ReachedStates | None = None
    ) -> TokenizerOutput:
        """Run the training pass: encode, quantise, and predict the velocity at each image's own clock.

        Args:
            pixels: B x 3 x H x W in [-1, 1].
            u: B clocks in [0, 1), which choose time and token group.
            noise: B x 3 x H x W standard normal.
            quantised: False lets the latents themselves pass to the decoder, as at the start of a training.
            reached: states to predict from instead of those of the straight path; None takes all from the path.

        Returns:
            All that the losses need.
        """
        config = self.config
        latents = F.normalize(self.encoder(pixels).float(), dim=-1)
        codes = self.quantizer.nearest(latents)
        entries = self.quantizer.lookup(codes)
        passed = latents + (entries - latents).detach() if quantised else latents  # straight-through
        group, t = self.clock.group(u), self.clock.time(u)
        condition, visible = self._training_context(self.latent_decoder(passed), group)

        image = config.data_std * pixels
        x_t = interpolate(image, noise, t)
        if reached is not None:
            x_t = torch.where(reached.own[:, None, None, None], reached.states, x_t)
        predicted, hidden = self.diffusion_decoder.forward_with_hidden(x_t, t.float(), condition, visible)
        velocity = predicted.float()
        return TokenizerOutput(
            codes=codes,
            latents=latents,
            entries=entries,
            group=group,
            time=t,
            on_path=torch.ones_like(group, dtype=torch.bool) if reached is None else ~reached.own,
            velocity=velocity,
            target_velocity=image - noise,
            predicted_image=(x_t + (1 - t).view(-1, 1, 1, 1) * velocity) / config.data_std,
            hidden=hidden,
        )

    def _training_context(self, conditions_BND: Tensor, group_B: Tensor) -> tuple[Tensor, Tensor | None]:
        """Select conditions for each image's own step, and mark which it may see: B x S x D and B x S, None for all."""
        config, images = self.config, torch.arange(len(group_B), device=group_B.device)
        if config.decoder_context == "group":
            return conditions_BND.unflatten(1, (config.num_groups, -1))[images, group_B], None
        tokens = torch.arange(config.num_tokens, device=group_B.device)
        return conditions_BND, tokens < (group_B[:, None] + 1) * config.tokens_per_group

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.quantizer.codebook.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.quantizer.codebook.dtype

    def encode(self, images: Tensor | Picture | Sequence[Picture]) -> Tensor:
        """Encode images to tokens; deterministic.

        Args:
            images: pixels B x 3 x H x W in [-1, 1], H = W = ``config.image_size``; or a picture or several, of which
                the central squares are taken, see ``dar.images.Picture``.

        Returns:
            B x N, int64, in [0, codebook_size).

        Raises:
            DARError: if the shape is another one, a value is not in [-1, 1], or what is given is no picture.
        """
        if not isinstance(images, Tensor):
            pictures, _ = listed_pictures(images)
            images = square_pixels(pictures, self.config.image_size) if pictures else torch.empty(0)
        check_pixels(images, self.config)
        with torch.no_grad():
            return self.quantizer.nearest(self.encoder(images.to(self.device, self.dtype)))

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
        """Decode tokens to images.

        Args:
            tokens: B x N, int64; fewer columns will do where ``num_tokens`` allows it.
            seed: seeds the noise; see ``dar.randomness.Seed``. The pipeline draws the same noise from the same seed.
            noise: B x 3 x H x W standard normal, instead of a seed.
            steps: S, denoising steps; None means ``config.num_steps``.
            solver: "adams-bashforth-2" or "euler".
            num_tokens: decode from this many first tokens, as a preview does: only the steps whose whole group is
                among them run, and the last of them goes all the way to the image. None means N.

        Returns:
            B x 3 x H x W in [-1, 1].

        Raises:
            DARError: if the tokens, their number, the noise or the solver do not fit.
        """
        group = self.config.tokens_per_group
        num_tokens = self.config.num_tokens if num_tokens is None else whole_number("num_tokens", num_tokens)
        if not group <= num_tokens <= self.config.num_tokens:
            raise DARError(f"num_tokens must lie between {group} and {self.config.num_tokens}, not {num_tokens}")
        check_tokens(tokens, num_tokens, self.config)
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
            steps: S, denoising steps; None means ``config.num_steps``.
            solver: "adams-bashforth-2" or "euler".

        Returns:
            An iterator that gives, after each step, the estimate of the final image, B x 3 x H x W in [-1, 1]; after
            step S, the image itself.

        Raises:
            DARError: at the call, if the noise has another shape, the solver is unknown, or there is no step.
        """
        config = self.config
        if tuple(noise.shape[1:]) != (3, config.image_size, config.image_size):
            raise DARError(f"noise must be B x 3 x {config.image_size} x {config.image_size}, not {tuple(noise.shape)}")
        check_steps(steps)
        rows = len(noise)
        return _denoised(groups, self.start_denoising(noise, [steps or config.num_steps] * rows, [solver] * rows))

    def start_denoising(self, noise: Tensor, steps: Sequence[int], solvers: Sequence[str]) -> DenoisingState:
        """Begin R images, each with a number of steps and a solver of its own.

        Args:
            noise: R x 3 x H x W standard normal.
            steps: S of each image.
            solvers: names of them.
        """
        precise = torch.promote_types(self.dtype, torch.float32)  # steps add up, however coarse the weights are
        schedules = [self.clock.schedule(count) for count in steps]
        return DenoisingState(self, noise.to(self.device, precise), schedules, [solver_named(name) for name in solvers])

    def velocity(self, x_B3HW: Tensor, t: float | Tensor, condition_BSD: Tensor) -> Tensor:
        """Predict the velocity of the flow at scaled, noisy images.

        Args:
            x_B3HW: points of the path; images are scaled by ``config.data_std``.
            t: one time in [0, 1) for all, or B times.
            condition_BSD: conditions of the step's group, or of all groups up to it: see ``decoder_context``.

        Returns:
            B x 3 x H x W, in the dtype of the images.
        """
        t_B = torch.as_tensor(t, dtype=torch.float32, device=x_B3HW.device).reshape(-1)
        return self.diffusion_decoder(x_B3HW.to(self.dtype), t_B, condition_BSD).type_as(x_B3HW)

    def condition(self, tokens: Tensor) -> Tensor:
        """Compute conditions of all tokens: B x T int64 -> B x T x D; condition i depends on tokens <= i only."""
        return self.latent_decoder(self.quantizer.lookup(tokens.to(self.device)))

    def context(self, conditions_BTD: Tensor, group: int) -> Tensor:
        """Select the conditions that patches see in a step on one group; see ``decoder_context``.

        Args:
            conditions_BTD: of as many tokens as there are in the groups up to this one, or more.
            group: index of the step's group.

        Returns:
            B x S x D.
        """
        end = (group + 1) * self.config.tokens_per_group
        start = 0 if self.config.decoder_context == "prefix" else end - self.config.tokens_per_group
        return conditions_BTD[:, start:end]


def _denoised(groups: Iterable[Tensor], state: DenoisingState) -> Iterator[Tensor]:
    """Take the steps of images that are all alike, each group just before the first step that needs it."""
    coming = iter(groups)
    while state.next_step(0) is not None:
        while not state.is_ready(0):
            group = next(coming, None)
            if group is None:
                return
            state.see(group)
        yield state.step()
