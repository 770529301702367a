"""Changes weights so that a file of them is sound and the model is not: types, shapes, names, numbers."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch

from .good_checkpoints import State

DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.int64, torch.bool),
    *(torch.complex64, torch.float8_e4m3fn),
)
NAMES = ("", "x", "x" * 5_000, "\x1b[2J", "a\0b", "../x", "model.x", "encoder.layers.encoder_layer_99999.ln_1.weight")
NUMBERS = (float("nan"), float("inf"), 0.0, 3e38, 1e-45)

Damage = Callable[[State, str, random.Random], None]


def damage_state(state: State, rng: random.Random) -> None:
    """One to three changes, in place."""
    for _ in range(rng.randint(1, 3)):
        rng.choice(DAMAGES)(state, rng.choice(sorted(state)), rng)


def change_type(state: State, name: str, rng: random.Random) -> None:
    state[name] = _converted(state[name], rng.choice(DTYPES))


def change_types_of_all(state: State, _name: str, rng: random.Random) -> None:
    dtype = rng.choice(DTYPES)
    state.update({other: _converted(tensor, dtype) for other, tensor in state.items()})


def _converted(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return (tensor.real if tensor.is_complex() else tensor).to(dtype)


def change_shape(state: State, name: str, rng: random.Random) -> None:
    tensor = state[name]
    if tensor.ndim == 0:
        tensor = tensor.reshape(1)
    state[name] = rng.choice(
        [
            tensor.reshape(-1),
            tensor[:0],
            tensor[:1].clone(),
            tensor.unsqueeze(0),
            torch.ones(()),
            tensor.transpose(0, -1).contiguous(),
            torch.cat([tensor, tensor]),
            torch.zeros(0, 2**40),
        ]
    )


def change_numbers(state: State, name: str, rng: random.Random) -> None:
    if state[name].is_floating_point() and state[name].element_size() > 1 and state[name].numel():
        state[name] = state[name].clone()
        state[name].view(-1)[rng.randrange(state[name].numel())] = rng.choice(NUMBERS)


def rename(state: State, name: str, rng: random.Random) -> None:
    state[rng.choice([*NAMES, rng.choice(sorted(state)), f"module.{name}"])] = state.pop(name)


def drop(state: State, name: str, _rng: random.Random) -> None:
    if len(state) > 1:
        del state[name]


DAMAGES: tuple[Damage, ...] = (change_type, change_types_of_all, change_shape, change_numbers, rename, drop)
