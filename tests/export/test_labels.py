"""Class names from a file."""

from __future__ import annotations

import pytest
from torchvision.models import get_model_weights

from vit_export import ExportRequest, export
from vit_export.errors import LabelsError
from vit_export.read import labels
from vit_runtime.artifact import read_artifact

from . import hf_models

NAMES = ("zero", "one", "two", "three", "four", "five", "six")
TEXT = "\n".join(NAMES)


def read_labels(source: str, classes: int) -> tuple[str, ...]:
    """Both halves of what an export does with `--labels`."""
    names = labels.read_labels(source)
    labels.check_labels(names, classes, source)
    return names


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode() + b"\n",
        TEXT.encode() + b"\n\n \n",
        b"\xef\xbb\xbf" + TEXT.encode(),  # the byte order mark that Windows' editors write
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "  \n\t").encode(),
    ],
    ids=["plain", "newline_at_end", "empty_lines_at_end", "byte_order_mark", "windows", "spaces_around"],
)
def test_one_name_a_line_however_the_editor_saved_it(content, tmp_path):
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(str(tmp_path / "labels.txt"), 7) == NAMES


def test_names_of_any_script_and_with_spaces_inside(tmp_path):
    names = ("great white shark", "Würstchen", "犬", "é, with comma", "# hash", '"quoted"', "7")
    (tmp_path / "labels.txt").write_text("\n".join(names), encoding="utf-8")
    assert read_labels(str(tmp_path / "labels.txt"), 7) == names


def test_imagenet_names_are_torchvisions():
    assert list(read_labels("imagenet", 1000)) == get_model_weights("vit_b_16").DEFAULT.meta["categories"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (TEXT + "\nseven", "has 8 names for 7 classes"),
        ("only one", "has 1 names for 7 classes"),
        ("", "has 0 names for 7 classes"),
        (TEXT.replace("three", ""), "line 4 is empty"),
        (TEXT.replace("three", " \t"), "line 4 is empty"),
        (TEXT.replace("three", "\nthree"), "line 4 is empty"),  # seven names, and a gap
        ("\n" + TEXT, "line 1 is empty"),
    ],
    ids=["too_many", "too_few", "empty", "name_missing", "only_spaces", "gap", "gap_at_start"],
)
def test_a_file_that_does_not_fit_the_classes(content, complaint, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(content)
    with pytest.raises(LabelsError) as caught:
        read_labels(str(path), 7)
    assert str(caught.value).startswith(f"{path}: {complaint}")


def test_imagenet_names_for_seven_classes():
    with pytest.raises(LabelsError, match=r"^imagenet: has 1000 names for 7 classes"):
        read_labels("imagenet", 7)


def test_a_missing_file(tmp_path):
    with pytest.raises(LabelsError, match=r"none\.txt: cannot be read \(No such file or directory\)"):
        read_labels(str(tmp_path / "none.txt"), 7)


def test_a_folder(tmp_path):
    with pytest.raises(LabelsError, match=r": cannot be read \("):
        read_labels(str(tmp_path), 7)


@pytest.mark.parametrize(
    "content", [b"\x80\x81\xfe\xff" * 9, "Würstchen\n".encode("latin-1") * 7], ids=["binary", "latin1"]
)
def test_a_file_that_is_no_utf8_text(content, tmp_path):
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(LabelsError, match="is no UTF-8 text; save it as plain text in UTF-8"):
        read_labels(str(tmp_path / "labels.txt"), 7)


def test_labels_end_up_in_the_artifact(tiny_checkpoint, tmp_path):
    (tmp_path / "labels.txt").write_text(TEXT)
    request = ExportRequest(model=str(tiny_checkpoint), labels=str(tmp_path / "labels.txt"), output=tmp_path)
    assert read_artifact(export(request).path).labels == NAMES


def test_wrong_labels_leave_no_file(tiny_checkpoint, folder, files_in):
    with pytest.raises(LabelsError):
        export(ExportRequest(model=str(tiny_checkpoint), labels="imagenet", output=folder))
    assert files_in(folder) == []


def test_names_of_ones_own_come_before_those_of_the_checkpoint(folder):
    model = hf_models.save(hf_models.make("ViT"), folder / "model")
    names = [f"mine {index}" for index in range(len(hf_models.LABELS))]
    (folder / "labels.txt").write_text("\n".join(names))
    for options, expected in (({}, hf_models.LABELS.values()), ({"labels": folder / "labels.txt"}, names)):
        exported = export(ExportRequest(model=model, output=folder / "out.onnx", force=True, **options))
        assert read_artifact(exported.path).labels == tuple(expected)
