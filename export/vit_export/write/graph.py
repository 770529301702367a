"""The Vision Transformer as an ONNX graph, written from its weights.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), section 3.1, equations 1 to 4; names and layer order
of `torchvision.models.vision_transformer`. Dimensions, in comments wherever a shape changes:

    N  pictures in the batch (dynamic)      D  width of a token
    G  patches along one side               H  attention heads
    P  pixels along a patch's side          K  width of a head, D / H
    S  tokens, those of the prefix and G·G  M  width of the MLP's hidden layer
    C  classes                              E  length of the embedding, D unless a projection makes it

What differs between targets and precisions is left to a `Lowering`. No node computes shapes, so that an accelerator
can take the whole graph.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from onnx import TensorProto

from vit_export.names import block_name
from vit_export.write.blocks import Recording, block, layer_norm
from vit_export.write.blueprint import Blueprint
from vit_export.write.builder import GraphBuilder
from vit_export.write.linear import Linear
from vit_export.write.lowering import Activation, Float32, Lowering
from vit_export.write.pooling import answer_rows, head
from vit_export.write.rollout import RolloutRecorder
from vit_export.write.weights import WeightSource
from vit_runtime.arrays import FloatArray
from vit_runtime.artifact import Architecture, Preprocessing

PIXELS: Final = "pixels"
PATCH_PROJECTION: Final = "patch_embed/projection"
"""Path of the linear layer that reads pixels."""
_COLOURS: Final = 3


def build_graph(blueprint: Blueprint, lowering: Lowering | None = None) -> GraphBuilder:
    """Records the whole model: `pixels` uint8 (N, H, W, 3) to `logits` (N, C), `embedding` (N, E), `rollout` (N, G, G).

    `logits` is an output only where there is a head, `rollout` only where it is asked for.
    """
    g, arch = GraphBuilder(), blueprint.arch
    watching = None if blueprint.rollout is None else RolloutRecorder(arch, blueprint.rollout)
    model = Recording(g=g, arch=arch, weights=blueprint.weights, lowering=lowering or Float32(), rollout=watching)
    side = arch.image_size
    pixels = g.input(PIXELS, TensorProto.UINT8, ("N", side, side, _COLOURS))
    x = patch_embed(model, pixels, blueprint.preprocessing)
    if arch.norm_before_blocks:
        x = layer_norm(model, x, "patch_embed/normalised", "encoder.ln_pre")
    for layer in range(arch.layers):
        with g.scope(f"encoder/{layer}"):
            # The last block computes only the tokens that the answer is read from.
            rows = answer_rows(arch) if layer == arch.layers - 1 else arch.tokens
            x = block(model, x, block_name(layer), rows=rows)
    head(model, x)
    if arch.classes:
        g.output("logits", TensorProto.FLOAT, ("N", arch.classes))
    g.output("embedding", TensorProto.FLOAT, ("N", arch.embedding_width))
    if watching is not None:
        watching.output(g)
    return g


def patch_embed(model: Recording[Architecture], pixels: str, preprocessing: Preprocessing) -> str:
    """Equation 1: z₀ = [x_class; x¹E; …; xᴺE] + E_pos, from raw pixels (N, H, W, 3) to (N, S, D)."""
    g, arch, weights = model.g, model.arch, model.weights
    grid, patch, width = arch.grid, arch.patch_size, arch.width
    values = patch * patch * _COLOURS
    with g.scope("patch_embed"):
        rows = g.constant("shape/patch_rows", (0, grid, patch, grid, patch * _COLOURS))
        x = model.lowering.pixels(g, pixels)  # (N, G·P, G·P, 3), and what fills no patch
        if arch.uncovered:
            box = {"from": (0, 0), "to": (grid * patch, grid * patch), "axes": (1, 2)}
            x = g.node("Slice", [x, *(g.constant(f"covered/{name}", at) for name, at in box.items())], "covered")
        x = g.node("Reshape", [x, rows], "rows")  # (N, G, P, G, P·3)
        x = g.node("Transpose", [x], "transpose", perm=[0, 1, 3, 2, 4])  # (N, G, G, P, P·3)
        x = g.node("Reshape", [x, g.constant("shape/patches", (0, grid * grid, values))], "patches")
        patches = Activation(  # (N, G·G, P·P·3), 0 to 255
            value=x, site="patch_embed/input", kind="pixels", rows=grid * grid, width=values
        )
        projection = patch_projection((width, values), preprocessing, weights)
        x = model.lowering.linear(g, patches, "projection", projection)  # (N, G·G, D)
        if arch.prefix:
            # Rows of zeros in front make room for the class token and others, which are added together with the
            # positions: Concat would need them expanded to N, hence arithmetic on shapes.
            pad = g.constant("shape/class_token_pad", (0, arch.prefix, 0, 0, 0, 0))
            x = g.node("Pad", [x, pad], "pad")  # (N, S, D)

        def positions() -> FloatArray:
            table: FloatArray = weights("encoder.pos_embedding")[0].copy()
            names = [name for name, count in _prefix_tokens(arch).items() if count]
            if names:
                table[: arch.prefix] += np.concatenate([weights(name)[0] for name in names])
            return table

        table = g.weight("encoder.pos_embedding", (arch.tokens, width), positions)
        return g.node("Add", [x, table], "tokens")


def _prefix_tokens(arch: Architecture) -> dict[str, int]:
    """Lists the weights (1, count, D) of tokens in front of the patches, in order, each with its count."""
    return {
        "class_token": int(arch.class_token),
        "distillation_token": int(arch.distillation_token),
        "register_tokens": arch.registers,
    }


def patch_projection(shape: tuple[int, int], preprocessing: Preprocessing, weights: WeightSource) -> Linear:
    """The patch projection with rescaling and normalisation folded in.

    torchvision computes W·((p / 255 - mean) / std) + b for pixels p; that is W / (255·std)·p + (b - Σ W·mean / std),
    here in double precision before it is rounded to float32 once. W's rows lie in the order row, column, colour.
    """
    mean = np.array(preprocessing.mean, np.float64)[:, None, None]
    std = np.array(preprocessing.std, np.float64)[:, None, None]

    def weight() -> FloatArray:
        kernel = weights("conv_proj.weight") / (255.0 * std)  # (D, 3, P, P)
        return np.asarray(kernel.transpose(0, 2, 3, 1).reshape(shape), np.float32)

    def bias() -> FloatArray:
        shift = (weights("conv_proj.weight") * (mean / std)).sum(axis=(1, 2, 3))
        return np.asarray(weights("conv_proj.bias") - shift, np.float32)

    return Linear(key="conv_proj", shape=shape, weight=weight, bias=bias)
