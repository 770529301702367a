"""Makes what a user would compare an int8 artifact with, from the same checkpoint.

    python -m vit_bench.peers CHECKPOINT CALIBRATION_FOLDER OUTPUT_FOLDER

- `traced.onnx`: `torch.onnx.export(dynamo=True)` of torchvision's model;
- `traced.dynamic.onnx`: that, through `onnxruntime.quantization.quantize_dynamic` with int8 weights by channel;
- `nncf.xml`: that, through NNCF's post-training quantization for transformers to OpenVINO's format.

Needs onnxscript, openvino and nncf besides vit-edge[bench].
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from vit_export import reference
from vit_export.preprocessing import imagenet_preset
from vit_export.sources.torchvision_state import canonical_names, read_architecture, reference_model
from vit_export.state_dict import read_state_dict
from vit_runtime.files import find_pictures
from vit_runtime.images import read_rgb


def make_peers(checkpoint: Path, calibration: Path, output: Path, *, pictures: int = 32) -> None:
    """Writes the three files into `output`."""
    import nncf
    import openvino
    from onnxruntime.quantization import QuantType, quantize_dynamic

    output.mkdir(parents=True, exist_ok=True)
    state = canonical_names(read_state_dict(checkpoint))
    architecture = read_architecture(state, checkpoint)
    model = reference_model(architecture, state, checkpoint, "model")
    preprocessing = imagenet_preset(architecture.image_size)
    photos = [
        reference.prepare(read_rgb(path), preprocessing)[None] for path in find_pictures([calibration])[:pictures]
    ]
    traced = output / "traced.onnx"
    torch.onnx.export(model, (photos[0],), traced, dynamo=True, external_data=False, verbose=False)
    quantize_dynamic(traced, output / "traced.dynamic.onnx", weight_type=QuantType.QInt8, per_channel=True)
    quantized = nncf.quantize(
        openvino.convert_model(traced),
        nncf.Dataset([photo.numpy() for photo in photos]),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(photos),
    )
    openvino.save_model(quantized, output / "nncf.xml")


def main() -> None:
    """Makes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("calibration", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    make_peers(options.checkpoint, options.calibration, options.output)


if __name__ == "__main__":
    main()
