"""Options that several commands share, as one object: users give its fields, commands get the object."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, get_type_hints

from dar.cli import options
from dar.generation.settings import GivenSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dar.pipeline import DARPipeline
    from dar.prior.classes import Class
    from dar.samples.sampling import SampleSettings

Command = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Options of the images to sample, without their number."""

    labels: options.Labels = "random"
    seed: options.Seed = 0
    chunk: options.Chunk = 50
    rounding: options.Rounding = "adm"

    def settings(
        self, pipe: "DARPipeline", given: GivenSettings, num: int, classes: "Sequence[Class] | None" = None
    ) -> "SampleSettings":
        """Settle what to sample from a model, with its own settings for those that are not given.

        Raises:
            DARError: if there is no such class, or a setting cannot be.
        """
        from dar.samples.sampling import sample_settings

        return sample_settings(pipe, given, classes, num=num, **vars(self))


def grouped(command: Command) -> Command:
    """Give a command an option for each field of its parameters that are dataclasses, in place of these parameters.

    A field is annotated as typer wants it; one without a default is required, and comes first.
    """
    parameters = inspect.signature(command).parameters.values()
    kinds = {one.name: one.annotation for one in parameters}
    groups = {name: kind for name, kind in kinds.items() if isinstance(kind, type) and is_dataclass(kind)}
    named: list[inspect.Parameter] = []
    for one in parameters:
        named += _fields_as_parameters(groups[one.name]) if one.name in groups else [one]
    named.sort(key=lambda one: one.default is not inspect.Parameter.empty)

    @wraps(command)
    def with_groups(**arguments: Any) -> None:
        objects = {
            name: group(**{field.name: arguments.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**arguments, **objects)

    vars(with_groups)["__signature__"] = inspect.Signature(named)
    with_groups.__annotations__ = {one.name: one.annotation for one in named}
    return with_groups


def _fields_as_parameters(group: type) -> list[inspect.Parameter]:
    annotations = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=annotations[field.name],
        )
        for field in fields(group)
    ]
