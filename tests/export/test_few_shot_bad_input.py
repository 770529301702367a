"""What `vit-export --examples` refuses or passes over, in one line each, with no file left where it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from tests.without import run_without

from vit_export import ExamplesError, ExportRequest, UsageError, VitEdgeError, export
from vit_runtime.artifact import METADATA_KEY, read_artifact
from vit_runtime.errors import ArtifactError, command_line

from .example_photos import photo, photos


class Notes:
    """Keeps what an export tells."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, description: str, total: int | None = None) -> None:
        pass

    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return photos(tmp_path / "photos", each=3)


def refused(error: type[VitEdgeError], model: Path, folder: Path, **options: Any) -> str:
    output = folder.parent / "out"
    with command_line(), pytest.raises(error) as caught:
        export(ExportRequest(**{"model": model, "examples": folder, "output": output / "x.onnx", **options}))
    assert type(caught.value) is error
    assert not list(output.glob("**/*.onnx"))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500
    return message


def taken(model: Path, folder: Path, **options: Any) -> tuple[Any, list[str]]:
    """What the artifact says of its classes, and what was told on the way."""
    notes = Notes()
    artifact = export(
        ExportRequest(model=model, examples=folder, output=folder.parent / "x.onnx", **options), notes
    ).artifact
    return artifact, notes.told


# Folders.


def test_no_folder(tiny_artifact: Path, tmp_path: Path):
    assert "none: no such folder; give a folder that holds a folder of photos" in refused(
        ExamplesError, tiny_artifact, tmp_path / "none"
    )
    (tmp_path / "file").touch()
    assert "file: not a folder" in refused(ExamplesError, tiny_artifact, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "empty: holds no folders; give" in refused(ExamplesError, tiny_artifact, tmp_path / "empty")


def test_photos_without_folders(tiny_artifact: Path, folder: Path):
    assert "holds no folders, only files" in refused(ExamplesError, tiny_artifact, folder / "red")


def test_an_empty_class(tiny_artifact: Path, folder: Path):
    (folder / "yellow").mkdir()
    assert "yellow: holds no photos; put photos into it, or remove the folder" in refused(
        ExamplesError, tiny_artifact, folder
    )
    (folder / "yellow" / "notes.txt").touch()
    assert "yellow: holds no photos" in refused(ExamplesError, tiny_artifact, folder)


def test_one_class(tiny_artifact: Path, tmp_path: Path):
    folder = photos(tmp_path / "photos", labels=("red",))
    assert "holds one class, 'red': there is nothing to tell apart; add a folder" in refused(
        ExamplesError, tiny_artifact, folder
    )
    assert "holds one class" in refused(ExamplesError, tiny_artifact, folder, unknown=True)


def test_a_class_with_one_photo(tiny_artifact: Path, folder: Path):
    for path in sorted((folder / "red").iterdir())[1:]:
        path.unlink()
    message = refused(ExamplesError, tiny_artifact, folder)
    assert "'red' has too few photos (1 photo): 2 are the least, 5 or more are better; add photos of it" in message


def test_two_photos_are_few(tiny_artifact: Path, tmp_path: Path):
    _, told = taken(tiny_artifact, photos(tmp_path / "photos", each=2))
    assert "warning: 2 photos of a class are few: give 5 to 100, or the accuracy says little" in told


def test_unreadable_photos(tiny_artifact: Path, folder: Path):
    (folder / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "red" / "lost.png").symlink_to(folder / "nothing.png")
    artifact, told = taken(tiny_artifact, folder)
    assert artifact.head.examples.unreadable == 2
    assert artifact.head.examples.photos == (3, 3, 3)
    skipped = [line for line in told if line.startswith("skipped: ")]
    assert len(skipped) == 2
    assert "broken.jpg" in skipped[0]
    assert "lost.png" in skipped[1]


def test_a_class_of_which_nothing_can_be_read(tiny_artifact: Path, folder: Path):
    for path in (folder / "red").iterdir():
        path.write_bytes(b"nothing")
    assert "'red' has too few photos (none of 3 can be used)" in refused(ExamplesError, tiny_artifact, folder)


def test_the_same_photo_in_two_classes(tiny_artifact: Path, folder: Path):
    photo("red", 9).save(folder / "red" / "9.png")
    photo("red", 9).save(folder / "blue" / "same.png")
    artifact, told = taken(tiny_artifact, folder)
    assert (
        "warning: 1 photo is in several classes and left out, since only one can be right: "
        "blue/same.png and red/9.png" in told
    )
    facts = artifact.head.examples
    assert (facts.photos, facts.left_out, facts.twin_pairs) == ((3, 3, 3), 2, facts.twin_pairs)
    assert (facts.twins[0].photo, facts.twins[0].other, facts.twins[0].same_pixels) == (
        *("blue/same.png", "red/9.png", True),
    )


def test_the_same_photo_twice_in_a_class(tiny_artifact: Path, folder: Path):
    photo("red", 0).save(folder / "red" / "again.png")
    artifact, _ = taken(tiny_artifact, folder)
    facts = artifact.head.examples
    assert (facts.photos, facts.left_out) == ((3, 3, 3), 1)
    assert (facts.twins[0].photo, facts.twins[0].other) == ("red/0.png", "red/again.png")


def test_a_link_to_another_class(tiny_artifact: Path, folder: Path):
    """All photos of the two are then in both."""
    (folder / "scarlet").symlink_to(folder / "red")
    assert "'red' has too few photos (none of 3 can be used)" in refused(ExamplesError, tiny_artifact, folder)


def test_links_to_folders_and_photos_count(tiny_artifact: Path, folder: Path):
    linked = folder.parent / "linked"
    linked.mkdir()
    (linked / "red").symlink_to(folder / "red")
    (linked / "green").mkdir()
    for path in (folder / "green").iterdir():
        (linked / "green" / path.name).symlink_to(path)
    artifact, _ = taken(tiny_artifact, linked)
    assert artifact.labels == ("green", "red")
    assert artifact.head.examples.photos == (3, 3)


def test_a_link_to_nowhere_among_the_classes(tiny_artifact: Path, folder: Path):
    (folder / "gone").symlink_to(folder / "nowhere")
    artifact, told = taken(tiny_artifact, folder)
    assert artifact.labels == ("blue", "green", "red")
    assert f"{folder}: 1 file beside the folders of the classes passed over" in told


def test_a_folder_of_folders_of_folders(tiny_artifact: Path, folder: Path):
    outer = folder.parent / "outer"
    (outer / "test").mkdir(parents=True)
    shutil.copytree(folder, outer / "train")
    shutil.copytree(folder, outer / "test", dirs_exist_ok=True)
    message = refused(ExamplesError, tiny_artifact, outer)
    assert "test: holds folders (blue), and no photos of its own: a class's photos lie right in its folder" in message
    assert f"give the folder whose folders are the classes, perhaps {outer / 'test'}" in message


def test_folders_inside_a_class(tiny_artifact: Path, folder: Path):
    shutil.copytree(folder / "red", folder / "red" / "older")
    artifact, told = taken(tiny_artifact, folder)
    assert artifact.head.examples.photos == (3, 3, 3)
    assert f"{folder / 'red'}: 1 folder inside a class passed over, with what is in them" in told


def test_files_and_hidden_folders_beside_the_classes(tiny_artifact: Path, folder: Path):
    shutil.copytree(folder / "red", folder / ".cache")
    (folder / "red" / "._0.png").write_bytes(b"macOS")
    (folder / "notes.txt").touch()
    (folder / "photo.png").touch()
    artifact, told = taken(tiny_artifact, folder)
    assert artifact.labels == ("blue", "green", "red")
    assert artifact.head.examples.unreadable == 0
    assert f"{folder}: 2 files beside the folders of the classes passed over" in told


def test_labels_of_other_alphabets(tiny_artifact: Path, folder: Path):
    (folder / "red").rename(folder / "красный")
    (folder / "green").rename(folder / "vert fonce\u0301")  # as macOS stores it
    (folder / "blue").rename(folder / "青い")
    artifact, _ = taken(tiny_artifact, folder)
    assert artifact.labels == ("vert foncé", "красный", "青い")
    assert read_artifact(folder.parent / "x.onnx").labels == artifact.labels


def test_one_label_in_two_spellings(tiny_artifact: Path, folder: Path):
    (folder / "red").rename(folder / "caf\u00e9")
    (folder / "blue").rename(folder / "cafe\u0301")
    if len(list(folder.iterdir())) < 3:
        pytest.skip("this file system takes the two for one")
    assert "there is another folder of the label 'café'; give each class one folder" in refused(
        ExamplesError, tiny_artifact, folder
    )


def test_a_name_that_is_no_text(tiny_artifact: Path, folder: Path):
    try:
        (folder / "red").rename(folder / "r\udce9d")
    except OSError:
        pytest.skip("this file system takes no such names")
    assert "has a name that is no UTF-8 text; rename the folder" in refused(ExamplesError, tiny_artifact, folder)


def test_a_class_by_the_name_of_the_unknown(tiny_artifact: Path, folder: Path):
    (folder / "red").rename(folder / "none of these")
    assert "has the label of the class for unknown pictures; rename the folder" in refused(
        ExamplesError, tiny_artifact, folder, unknown=True
    )
    assert taken(tiny_artifact, folder)[0].labels == ("blue", "green", "none of these")


# Options.


def test_options_that_do_not_go_together(tiny_checkpoint: Path, tiny_artifact: Path, folder: Path, tmp_path: Path):
    classes = tmp_path / "classes.txt"
    classes.write_text("cat\ndog\n")
    assert "--classes: does not go with --examples: classes are described in words, or shown" in refused(
        UsageError, tiny_checkpoint, folder, classes=classes
    )
    assert "--labels: does not go with --examples, whose folders are named by the labels" in refused(
        UsageError, tiny_checkpoint, folder, labels=classes
    )
    assert "--unknown: is for classes that are fitted to photos; add --examples" in refused(
        UsageError, tiny_checkpoint, folder, examples=None, unknown=True
    )
    assert "is exported already: with --examples its head is replaced, and all else stays as it is" in refused(
        UsageError, tiny_artifact, folder, precision="int8"
    )
    assert "--unknown: 1 is neither True nor False" in refused(UsageError, tiny_artifact, folder, unknown=1)


def test_a_file_that_is_there_already(tiny_artifact: Path, folder: Path, vit_export_cli: Callable[..., Any]):
    done = vit_export_cli(tiny_artifact, "--examples", folder, "-o", tiny_artifact)
    assert done.exit_code == 1
    assert "exists already; add --force to replace it, or choose another --output" in done.stderr


# Artifacts.


def test_an_artifact_without_an_embedding(
    tiny_artifact: Path, folder: Path, tmp_path: Path, seal: Callable[[bytes], bytes]
):
    """No version of vit-export writes one; a graph of somebody's may lack it."""
    model = onnx.load(tiny_artifact)
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    document = json.loads(entry.value)
    document["outputs"] = ["logits"]
    document["verification"]["outputs"] = document["verification"]["outputs"][:1]
    document["self_test"]["outputs"] = document["self_test"]["outputs"][:1]
    entry.value = json.dumps(document)
    del model.graph.output[1:]
    path = tmp_path / "bare.onnx"
    path.write_bytes(seal(model.SerializeToString()))
    assert "embedding" in refused(ArtifactError, path, folder)


def test_files_that_are_no_artifacts(tiny_artifact: Path, folder: Path, tmp_path: Path):
    path = tmp_path / "x.onnx"
    assert "no such file" in refused(ArtifactError, path, folder)
    path.write_bytes(b"nothing")
    assert "not an ONNX file" in refused(ArtifactError, path, folder)
    model = onnx.load(tiny_artifact)
    del model.metadata_props[:]
    onnx.save(model, path)
    assert "an ONNX file without vit-edge metadata" in refused(ArtifactError, path, folder)


def test_a_damaged_artifact(tiny_artifact: Path, folder: Path, tmp_path: Path):
    path = tmp_path / "x.onnx"
    content = bytearray(tiny_artifact.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "damaged or changed since it was exported" in refused(ArtifactError, path, folder)
    path.write_bytes(content[: len(content) // 2])
    assert "incomplete" in refused(ArtifactError, path, folder)


def test_scikit_learn_is_missing(tiny_artifact: Path, folder: Path):
    script = (
        "from vit_export import ExportRequest, export\n"
        "try:\n    export(ExportRequest(model=sys.argv[1], examples=sys.argv[2]))\n"
        "except Exception as error:\n    print(error)"
    )
    told = run_without(("sklearn",), script, tiny_artifact, folder)
    assert told.strip() == "scikit-learn: not installed; run: pip install 'vit-edge[export,cpu]'"
