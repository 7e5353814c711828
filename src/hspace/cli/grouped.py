"""Options that belong together, as one parameter of a command: a dataclass whose fields are options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_type_hints

__all__ = ["grouped"]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as `typer` takes it: every dataclass among its parameters in fields, with its default's values.

    Example:
        >>> import inspect
        >>> from hspace.cli.grouped import grouped
        >>> from hspace.cli.options import NOTHING, Asked
        >>> def command(steps: int, asked: Asked = NOTHING) -> None:
        ...     print(steps, asked.given())
        >>> list(inspect.signature(grouped(command)).parameters)
        ['steps', 'prompt', 'negative_prompt', 'label', 'guidance_scale', 'shift_in']
        >>> grouped(command)(steps=4, prompt="a cat", label=None)
        4 {'prompt': 'a cat'}
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    defaults = {name: inspect.signature(command).parameters[name].default for name in groups}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if (group := groups.get(parameter.name)) is None:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        of_fields = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(
                each.name,
                parameter.kind,
                default=getattr(defaults[parameter.name], each.name),
                annotation=of_fields[each.name],
            )
            for each in fields(group)
        ]

    @functools.wraps(command)
    def collected(**given: Any) -> None:
        for name, group in groups.items():
            inside = {each.name: given.pop(each.name) for each in fields(group) if each.name in given}
            given[name] = replace(defaults[name], **inside)
        command(**given)

    collected.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    collected.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}
    return collected
