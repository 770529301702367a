"""Checkpoints with one thing that is meant to do harm: all are to be refused, but those that are merely odd."""

from __future__ import annotations

import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from .good_checkpoints import (
    Files,
    deflated,
    hugging_face,
    hugging_face_state,
    in_zip,
    timm,
    timm_state,
    torchvision_state,
)

SIZES = (0, -1, 1.5, True, "64", None, [64], 10**6, 2**31, 2**63, 10**400, 1e308, float("nan"))
_HIDDEN = "encoder.layers.encoder_layer_1.mlp.0.weight"


class Attack:
    """What plain pickle would make a folder of."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def attacks(marker: Path) -> Iterator[tuple[str, Files]]:
    """Files that make `marker` where they are read without care."""
    state = torchvision_state()
    for name, content in {"alone": Attack(marker), "beside": {"model": state, "args": Attack(marker)}}.items():
        yield f"attack_{name}_zip", {"model.pth": in_zip(content)}
        yield f"attack_{name}_legacy", {"model.pth": in_zip(content, _use_new_zipfile_serialization=False)}
        yield f"attack_{name}_deflated", {"model.pth": deflated(in_zip(content))}
        yield f"attack_{name}_pickle", {"model.pth": pickle.dumps(content)}
        yield f"attack_{name}_as_safetensors", {"model.safetensors": in_zip(content)}
        folder = {file: body for file, body in hugging_face().items() if not file.endswith("safetensors")}
        yield f"attack_{name}_bin", {**folder, "model/pytorch_model.bin": in_zip(content)}


def bad_checkpoints() -> Iterator[tuple[str, Files]]:
    """Names and files; all but attacks. What is called "odd_" says something odd where nobody looks."""
    yield from _tensors()
    yield from _containers()
    yield from _zips()
    yield from _safetensors()
    yield from _hugging_face()
    yield from _timm()
    yield from _jsons()


def _tensors() -> Iterator[tuple[str, Files]]:
    hidden = torchvision_state()[_HIDDEN]
    corner = torch.zeros(2, 1, dtype=torch.long)
    kinds = {
        "sparse": hidden.to_sparse(),
        "sparse_of_2^80": torch.sparse_coo_tensor(corner, [1.0], (2**40, 2**20), check_invariants=True),
        "csr": _csr(hidden),
        "complex": hidden.to(torch.complex64),
        "int8": hidden.to(torch.int8),
        "bool": hidden.to(torch.bool),
        "float8": hidden.to(torch.float8_e4m3fn),
        "expanded": torch.zeros(1).expand(2**20, 2**20),
        "expanded_as_it_should_be": torch.zeros(1).expand(hidden.shape),
        "overlapping": torch.zeros(2**12).as_strided((2**11, 2**11), (1, 1)),
        "on_meta": hidden.to("meta"),
        "of_no_rows": torch.zeros(0, 2**40),
        "of_40_axes": torch.zeros([1] * 40),
    }
    for name, tensor in kinds.items():
        state = torchvision_state() | {_HIDDEN: tensor}
        yield f"tensor_{name}", {"model.pth": in_zip(state)}
        yield f"tensor_{name}_legacy", {"model.pth": in_zip(state, _use_new_zipfile_serialization=False)}
        yield f"tensor_{name}_deflated", {"model.pth": deflated(in_zip(state))}


def _csr(tensor: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch says of each that they are new
        return tensor.to_sparse_csr()


def _containers() -> Iterator[tuple[str, Files]]:
    cycle: dict[str, Any] = {}
    cycle["model"] = cycle["state_dict"] = cycle
    yield "cycle", {"model.pth": in_zip(cycle)}
    deep: Any = torchvision_state()
    for _ in range(200):
        deep = {"model": deep}
    yield "200_wrappers", {"model.pth": in_zip(deep)}
    yield "a_million_prefixes", {"model.pth": in_zip({"module." * 100_000 + "x": torch.ones(1)})}
    yield "names_of_numbers", {"model.pth": in_zip({index: torch.ones(1) for index in range(9)})}
    yield "5_000_tensors", {"model.pth": in_zip({f"x{index}": torch.ones(1)[:0] for index in range(5_000)})}
    # Opcodes of the pickle module: a list of a list of a list, and a text that says it has 2^62 bytes.
    yield (
        "pickle_of_lists",
        {"model.pth": deflated(in_zip({}), {"data.pkl": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."})},
    )
    yield (
        "pickle_of_2^62",
        {"model.pth": deflated(in_zip({}), {"data.pkl": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x."})},
    )
    yield (
        "pickle_frame",
        {"model.pth": deflated(in_zip({}), {"data.pkl": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"."})},
    )
    yield (
        "pickle_memo",
        {"model.pth": deflated(in_zip({}), {"data.pkl": b"\x80\x02}r\xff\xff\xff\x7fj\xff\xff\xff\x7f."})},
    )
    yield "pickle_without_end", {"model.pth": b"\x80\x02" + b"(" * 1_000_000}


def _zips() -> Iterator[tuple[str, Files]]:
    sound = in_zip(torchvision_state())
    for name, kind in (("bzip2", zipfile.ZIP_BZIP2), ("lzma", zipfile.ZIP_LZMA)):
        yield f"zip_{name}", {"model.pth": deflated(sound, kind=kind)}
    yield "zip_bomb", {"model.pth": deflated(in_zip({"x": torch.zeros(16 << 20)}))}
    yield "zip_bomb_stated_small", {"model.pth": _stated_small(deflated(in_zip({"x": torch.zeros(8 << 20)})))}
    yield "zip_pickle_bomb", {"model.pth": deflated(sound, {"data.pkl": b"\x80\x02}" + b"(" * (64 << 20)})}
    # The end of a zip file of more than 4 GB, in the second of two parts.
    ending = b"PK\6\7" + struct.pack("<LQL", 0, 0, 2) + b"PK\5\6" + bytes(18)
    yield "zip_of_two_disks", {"model.pth": ending}
    yield "zip_of_two_disks_behind_weights", {"model.pth": sound[: sound.rindex(b"PK\5\6")] + ending}
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("../../evil/data.pkl", "/etc/evil", "archive/data.pkl", "archive/version"):
            archive.writestr(name, b"\x80\x02}.")
    yield "zip_paths", {"model.pth": buffer.getvalue()}
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"archive/data/{number}", b"")
    yield "zip_of_20_000", {"model.pth": buffer.getvalue()}


def _stated_small(content: bytes) -> bytes:
    """Says in the zip file's directory that each entry is as large as it is packed."""
    data, start = bytearray(content), 0
    while (start := data.find(b"PK\1\2", start)) >= 0:
        data[start + 24 : start + 28] = data[start + 20 : start + 24]
        start += 4
    return bytes(data)


def _safetensors() -> Iterator[tuple[str, Files]]:
    sound = save(torchvision_state())
    (length,) = struct.unpack_from("<Q", sound)
    header = json.loads(sound[8 : 8 + length])
    for stated in (0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1):
        yield f"safetensors_header_of_{stated}", {"model.safetensors": struct.pack("<Q", stated) + sound[8:]}

    def with_header(changed: dict[str, Any] | bytes) -> Files:
        text = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        return {"model.safetensors": struct.pack("<Q", len(text)) + text + sound[8 + length :]}

    first = next(name for name in header if name != "__metadata__")
    for name, facts in {
        "huge": {"shape": [2**40, 2**40]},
        "overflowing": {"shape": [2**32, 2**32]},
        "negative": {"shape": [-1, 64]},
        "backwards": {"data_offsets": [100, 0]},
        "beyond": {"data_offsets": [0, 2**63]},
        "overlapping": {"data_offsets": [0, 8]},
        "unknown_type": {"dtype": "Q4_K"},
    }.items():
        yield f"safetensors_{name}", with_header(header | {first: header[first] | facts})
    yield "safetensors_brackets", with_header(b"[" * 1_000_000)
    yield "safetensors_objects", with_header(b'{"a":' * 1_000_000)
    yield "safetensors_spaces", with_header(b" " * (50 << 20))


def _hugging_face() -> Iterator[tuple[str, Files]]:
    for key in (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "image_size",
        "patch_size",
    ):
        for number, size in enumerate(SIZES):
            if (key, size) != ("num_attention_heads", True):  # one head is right
                yield f"hf_{key}_{number}", hugging_face(**{key: size})
    yield "hf_100_000_layers", hugging_face(num_hidden_layers=100_000)
    yield "hf_width_3072", hugging_face(hidden_size=3072, num_attention_heads=48, intermediate_size=12_288)
    yield "hf_5_million_classes", hugging_face(num_labels=5_000_000, id2label=None)
    yield "hf_million_labels", hugging_face(id2label={str(number): "x" for number in range(1_000_000)})
    yield "hf_labels_of_numbers", hugging_face(id2label={str(10**number): "x" for number in range(7)})
    folder = hugging_face()
    weights = "model/model.safetensors"
    without = {name: body for name, body in folder.items() if name != weights}
    for number, shard in enumerate(("../../x", "/etc/passwd", "x\0y", "", ".", "x" * 5_000, "config.json")):
        index = json.dumps({"weight_map": {"a": shard}}).encode()
        yield f"hf_shard_{number}", {**without, f"{weights}.index.json": index}
    state = hugging_face_state()
    state["classifier.weight"] = torch.zeros(1).expand(7, 64)
    yield "hf_expanded", {**without, "model/pytorch_model.bin": in_zip(state)}


def _timm() -> Iterator[tuple[str, Files]]:
    for number, size in enumerate(SIZES):
        yield f"timm_input_{number}", timm(pretrained_cfg={"input_size": [3, size, size]})
        yield f"odd_timm_classes_{number}", timm(num_classes=size)
    yield "odd_timm_name", timm(architecture="vit_" + "9" * 100_000)
    for key in ("pos_embed", "patch_embed.proj.weight", "blocks.1.attn.qkv.weight", "head.weight"):
        state = timm_state()
        state[key] = torch.zeros(1).expand(2**16, *state[key].shape[1:])
        config = {name: body for name, body in timm().items() if name.endswith("config.json")}
        yield f"timm_expanded_{key}", {**config, "model/pytorch_model.bin": in_zip(state)}


def _jsons() -> Iterator[tuple[str, Files]]:
    for file in ("model/config.json", "model/preprocessor_config.json"):
        for name, text in {
            "brackets": b"[" * 1_000_000,
            "objects": b'{"a":' * 1_000_000,
            "digits": b'{"model_type": ' + b"4" * 100_000 + b"}",
            "bytes": b"\xff\xfe" * 1_000,
            "large": b" " * (40 << 20) + b"{}",
            "list": b"[]",
        }.items():
            yield f"json_{file[6:].partition('.')[0]}_{name}", {**hugging_face(), file: text}
