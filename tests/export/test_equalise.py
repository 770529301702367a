"""Equalised weights are an equivalent model, whose activations fill [-1, 1] in every channel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from torchvision.models import VisionTransformer

from vit_export.int8.equalise import BlockSpread, EqualisedWeights, Spread

WIDTH, HEADS = 128, 2
BLOCKS = [f"encoder.layers.encoder_layer_{number}" for number in range(2)]
PLACES = ("normalised", "mixed", "mlp")
ROUNDING = 5e-6
"""How far float32 weights take what should lie in [-1, 1] beyond it: 1.1e-6 measured."""

State = dict[str, torch.Tensor]


@pytest.fixture
def state(tiny_state: State) -> State:
    """The tiny model with LayerNorms and biases that do something, and channels of very different size."""
    rng = np.random.default_rng(3)
    for name, tensor in tiny_state.items():
        if name.endswith("bias"):
            tiny_state[name] = torch.from_numpy(rng.normal(0, 0.5, tensor.shape).astype(np.float32))
        elif "ln_" in name:
            tiny_state[name] = torch.from_numpy(rng.lognormal(0, 1.2, tensor.shape).astype(np.float32))
    return tiny_state


@pytest.fixture
def inputs(pytorch, random_pixels) -> torch.Tensor:
    return pytorch.normalise(random_pixels(6, 32)).double()


def equalised(state: State, blocks: Mapping[str, BlockSpread]) -> State:
    weights = EqualisedWeights(lambda name: state[name].numpy())
    weights.equalise(blocks)
    return {name: torch.from_numpy(weights(name)) for name in state}


def random_spreads(seed: int) -> dict[str, BlockSpread]:
    rng = np.random.default_rng(seed)

    def spread() -> Spread:
        shift, scale = rng.normal(0, 3, WIDTH), rng.lognormal(0, 1.5, WIDTH)
        return Spread(shift=shift.astype(np.float32), scale=scale.astype(np.float32))

    return {block: BlockSpread(**{place: spread() for place in PLACES}) for block in BLOCKS}


def dyadic_spreads(seed: int) -> dict[str, BlockSpread]:
    """Shifts in quarters and scales that are powers of two: nothing is lost to rounding with them."""
    rng = np.random.default_rng(seed)

    def spread() -> Spread:
        shift, scale = rng.integers(-16, 17, WIDTH) / 4, 2.0 ** rng.integers(-4, 5, WIDTH)
        return Spread(shift=shift.astype(np.float32), scale=scale.astype(np.float32))

    return {block: BlockSpread(**{place: spread() for place in PLACES}) for block in BLOCKS}


def in_steps(state: State) -> State:
    """Weights in multiples of 1/512: float32 holds all their sums with shifts in quarters."""
    return {name: torch.round(tensor * 512) / 512 for name, tensor in state.items()}


def relative(ours: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("seed", range(4))
def test_pytorch_gives_the_same_answers_with_the_equalised_weights(
    seed: int, state: State, inputs: torch.Tensor, pytorch
):
    """In double precision, with numbers that float32 holds exactly: only the equations are left (1.2e-14 measured)."""
    state = in_steps(state)
    changed = equalised(state, dyadic_spreads(seed))
    expected = pytorch.run(pytorch.tiny(state).double(), inputs)
    answers = pytorch.run(pytorch.tiny(changed).double(), inputs)
    for ours, theirs in zip(answers, expected, strict=True):
        assert relative(ours, theirs) < 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_with_any_numbers_only_the_rounding_to_float32_is_left(seed: int, state: State, inputs: torch.Tensor, pytorch):
    expected = pytorch.run(pytorch.tiny(state).double(), inputs)
    answers = pytorch.run(pytorch.tiny(equalised(state, random_spreads(seed))).double(), inputs)
    for ours, theirs in zip(answers, expected, strict=True):
        assert 0 < relative(ours, theirs) < 1e-5  # the worst measured is 6.9e-7


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("block", BLOCKS)
def test_each_place_is_made_up_for_by_itself(block: str, place: str, state: State, inputs: torch.Tensor, pytorch):
    """Two mistakes that cancel out would show here."""
    state = in_steps(state)
    nothing = Spread(shift=np.zeros(WIDTH, np.float32), scale=np.ones(WIDTH, np.float32))
    spreads = dict.fromkeys(PLACES, nothing) | {place: getattr(dyadic_spreads(9)[block], place)}
    changed = equalised(state, {block: BlockSpread(**spreads)})
    assert any(not torch.equal(changed[name], state[name]) for name in state)
    expected = pytorch.run(pytorch.tiny(state).double(), inputs)
    answers = pytorch.run(pytorch.tiny(changed).double(), inputs)
    for ours, theirs in zip(answers, expected, strict=True):
        assert relative(ours, theirs) < 1e-9


def test_weights_outside_the_equalised_blocks_are_the_original_ones(state: State):
    changed = equalised(state, {BLOCKS[1]: random_spreads(0)[BLOCKS[1]]})
    assert {name for name in state if not torch.equal(changed[name], state[name])} == {
        f"{BLOCKS[1]}.{name}"
        for name in (
            "ln_1.weight",
            "ln_1.bias",
            "self_attention.in_proj_weight",
            "self_attention.in_proj_bias",
            "self_attention.out_proj.weight",
            "self_attention.out_proj.bias",
            "ln_2.weight",
            "ln_2.bias",
            "mlp.0.weight",
            "mlp.0.bias",
        )
    }


def test_the_original_weights_are_not_touched(state: State):
    """They are the checkpoint's own memory, and the float layers read them afterwards."""
    before = {name: tensor.clone() for name, tensor in state.items()}
    weights = EqualisedWeights(lambda name: state[name].numpy())
    weights.equalise(random_spreads(1))
    once = {name: weights(name) for name in state}
    assert all(torch.equal(state[name], before[name]) for name in state)
    assert all(np.array_equal(weights(name), once[name]) for name in state)
    assert {array.dtype for array in once.values()} == {np.dtype(np.float32)}
    assert all(array.shape == state[name].shape for name, array in once.items())


def activations(model: VisionTransformer, inputs: torch.Tensor) -> dict[str, dict[str, np.ndarray]]:
    """What comes into the linear layers of each block: (N·S, width) by place; attention's mix by its formula."""
    caught: dict[str, dict[str, torch.Tensor]] = {block: {} for block in BLOCKS}
    hooks = []
    for key, block in zip(BLOCKS, model.encoder.layers, strict=True):
        for norm, place in ((block.ln_1, "normalised"), (block.ln_2, "mlp")):

            def keep(_module, _args, output, key=key, place=place) -> None:
                caught[key][place] = output

            hooks.append(norm.register_forward_hook(keep))
    with torch.inference_mode():
        model(inputs)
        for key, block in zip(BLOCKS, model.encoder.layers, strict=True):
            attention = block.self_attention
            packed = caught[key]["normalised"] @ attention.in_proj_weight.T + attention.in_proj_bias
            query, keys, values = (
                part.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2) for part in packed.chunk(3, dim=-1)
            )
            probabilities = (query @ keys.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5).softmax(dim=-1)
            caught[key]["mixed"] = (probabilities @ values).transpose(1, 2).flatten(2)
    for hook in hooks:
        hook.remove()
    return {key: {place: x.flatten(0, 1).numpy() for place, x in places.items()} for key, places in caught.items()}


def spreads_of(seen: dict[str, dict[str, np.ndarray]]) -> dict[str, BlockSpread]:
    return {
        block: BlockSpread(**{place: Spread.of_range(x.min(axis=0), x.max(axis=0)) for place, x in places.items()})
        for block, places in seen.items()
    }


def test_the_activations_of_the_pictures_fill_the_range(state: State, inputs: torch.Tensor, pytorch):
    before = activations(pytorch.tiny(state).double(), inputs)
    after = activations(pytorch.tiny(equalised(state, spreads_of(before))).double(), inputs)
    for block in BLOCKS:
        for place in PLACES:
            low, high = after[block][place].min(axis=0), after[block][place].max(axis=0)
            assert low.min() >= -1 - ROUNDING
            assert high.max() <= 1 + ROUNDING
            half = np.ptp(before[block][place], axis=0) / 2
            above_the_floor = half > 0.1 * np.median(half)
            assert above_the_floor.sum() > WIDTH / 2
            np.testing.assert_allclose(low[above_the_floor], -1, rtol=0, atol=ROUNDING)
            np.testing.assert_allclose(high[above_the_floor], 1, rtol=0, atol=ROUNDING)


def test_the_activations_differed_before(state: State, inputs: torch.Tensor, pytorch):
    """Guards the test above: one scale for all channels would have been a bad one."""
    for places in activations(pytorch.tiny(state).double(), inputs).values():
        for place in ("normalised", "mlp"):
            half = np.ptp(places[place], axis=0) / 2
            assert half.max() / np.median(half) > 5


@pytest.fixture
def still(state: State) -> State:
    """Channels that never move, as pruning leaves them; one of them in the mix of values too."""
    for block in BLOCKS:
        for norm in ("ln_1", "ln_2"):
            state[f"{block}.{norm}.weight"][[5, 90]] = 0
        row = 2 * WIDTH + 17
        state[f"{block}.self_attention.in_proj_weight"][row] = 0
    return state


def test_channels_that_never_move_get_a_share_of_the_median(still: State, inputs: torch.Tensor, pytorch):
    model = pytorch.tiny(still).double()
    before = activations(model, inputs)
    spreads = spreads_of(before)
    for block in BLOCKS:
        for place, channels in (("normalised", [5, 90]), ("mlp", [5, 90]), ("mixed", [17])):
            spread, x = getattr(spreads[block], place), before[block][place]
            half = np.ptp(x, axis=0) / 2
            floor = 0.1 * np.median(half[half > 0])
            np.testing.assert_allclose(spread.scale[channels], floor, rtol=1e-6)
            np.testing.assert_allclose(spread.shift[channels], x[0, channels], rtol=1e-6)
    changed = pytorch.tiny(equalised(still, spreads)).double()
    for ours, theirs in zip(pytorch.run(changed, inputs), pytorch.run(model, inputs), strict=True):
        assert relative(ours, theirs) < 1e-5


def test_a_model_whose_channels_are_all_constant(state: State, inputs: torch.Tensor, pytorch):
    """Each LayerNorm puts out its bias, whatever comes in."""
    for name in state:
        if "ln_" in name and name.endswith("weight"):
            state[name].zero_()
    model = pytorch.tiny(state).double()
    spreads = spreads_of(activations(model, inputs))
    for block in BLOCKS:
        for place in ("normalised", "mlp"):
            assert (getattr(spreads[block], place).scale == 1).all()
    changed = pytorch.tiny(equalised(state, spreads)).double()
    for ours, theirs in zip(pytorch.run(changed, inputs), pytorch.run(model, inputs), strict=True):
        assert np.isfinite(ours).all()
        assert relative(ours, theirs) < 1e-5


def test_centre_and_half_width_of_a_range():
    low, high = np.array([-1, 2, -40, 3, 0], np.float32), np.array([1, 8, 0, 3, 0.2], np.float32)
    spread = Spread.of_range(low, high)
    np.testing.assert_allclose(spread.shift, [0, 5, -20, 3, 0.1], rtol=1e-6)
    # Half widths 1, 3, 20, 0 and 0.1: the median of those that move is 2, a tenth of it the least.
    np.testing.assert_allclose(spread.scale, [1, 3, 20, 0.2, 0.2], rtol=1e-6)
    assert spread.shift.dtype == spread.scale.dtype == np.float32


def test_a_range_at_partial_strength_keeps_the_typical_channel_and_moves_the_others_less():
    low, high = np.array([-1, -2, -4, -8, 0], np.float32), np.array([1, 2, 4, 8, 0], np.float32)
    spread = Spread.of_range(low, high, strength=0.5)
    # The median of those that move is 3; a tenth of it is the least.
    np.testing.assert_allclose(spread.scale, np.sqrt(3 * np.array([1, 2, 4, 8, 0.3])), rtol=1e-6)
    np.testing.assert_array_equal(spread.shift, np.zeros(5))
    assert spread.shift.dtype == spread.scale.dtype == np.float32


def test_channels_that_are_all_constant_keep_their_scale():
    values = np.array([-3, 0, 5], np.float32)
    spread = Spread.of_range(values, values)
    assert spread.scale.tolist() == [1, 1, 1]
    assert spread.shift.tolist() == [-3, 0, 5]


@given(
    ends=st_numpy.arrays(np.float32, st.tuples(st.just(2), st.integers(1, 9)), elements=st.floats(-1e6, 1e6, width=32))
)
def test_any_range_comes_to_lie_between_minus_one_and_one(ends: np.ndarray):
    low, high = ends.min(axis=0), ends.max(axis=0)
    spread = Spread.of_range(low, high)
    assert (spread.scale > 0).all()
    shift, scale = spread.shift.astype(np.float64), spread.scale.astype(np.float64)
    # The centre is off by its own rounding, which may be much where the channel is narrow.
    slack = 1e-6 + np.abs(ends).max(axis=0) * 2.0**-23 / scale
    assert (np.abs((low - shift) / scale) <= 1 + slack).all()
    assert (np.abs((high - shift) / scale) <= 1 + slack).all()


def test_partial_equalisation_takes_out_a_power_of_the_peaks_over_their_median():
    spread = Spread.of_peaks(np.array([1, 2, 4, 8, 0.01], np.float32), strength=0.5)
    np.testing.assert_allclose(spread.scale, np.sqrt([0.5, 1, 2, 4, 0.1]), rtol=1e-6)
    np.testing.assert_array_equal(spread.shift, np.zeros(5))
    assert spread.scale.dtype == spread.shift.dtype == np.float32


def test_channels_without_any_peak_are_equalised_by_a_constant():
    assert np.ptp(Spread.of_peaks(np.zeros(4, np.float32), strength=0.3).scale) == 0
