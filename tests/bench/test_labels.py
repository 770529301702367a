"""Right answers for photos, from tables and from folders, and what is said where there are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from timm.data import ImageNetInfo
from torchvision.datasets import ImageFolder
from torchvision.models._meta import _IMAGENET_CATEGORIES

from vit_bench.errors import PhotosError
from vit_bench.measure.labels import LabelledPhotos, find_photos

FISH = ("tench", "great white shark", "Tiger shark")
IMAGENETTE = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079")
"""Tench, English springer, cassette player, chain saw, church: folders of the data set of that name."""
REMEDY = "put a labels.csv with lines of file,class beside the photos, or sort them into a folder for each class"
NAME_THEM = "name classes by index, by the model's labels (vit-run info --json), or by ImageNet's ids"


def touch(folder: Path, *files: str) -> Path:
    """Nothing here looks into photos."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def table(folder: Path, content: str | bytes, name: str = "labels.csv") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def answers(found: LabelledPhotos, folder: Path) -> dict[str, int]:
    assert len(set(found.paths)) == len(found.paths) == len(found.classes)
    return {str(path.relative_to(folder)): index for path, index in zip(found.paths, found.classes, strict=True)}


def refusal(folder: Path, names: Sequence[str] | None = None, classes: int = 3, *, given: Path | None = None) -> str:
    with pytest.raises(PhotosError) as caught:
        find_photos(folder, names, classes, table=given)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Tables.


TABLES = {
    "heading": "file,class\na.jpg,0\nb.png,2\nc.JPEG,1\n",
    "no heading": "a.jpg,0\nb.png,2\nc.JPEG,1\n",
    "no last line feed": "a.jpg,0\nb.png,2\nc.JPEG,1",
    "CRLF": "file,class\r\na.jpg,0\r\nb.png,2\r\nc.JPEG,1\r\n",
    "BOM and heading": "\ufefffile,class\na.jpg,0\nb.png,2\nc.JPEG,1\n",
    "BOM": "\ufeffa.jpg,0\nb.png,2\nc.JPEG,1\n",
    "BOM, CRLF and blank lines": "\ufeffa.jpg,0\r\n\r\nb.png,2\r\nc.JPEG,1\r\n\r\n",
    "spaces": "a.jpg, 0\nb.png ,2 \n c.JPEG,1\n",
    "a space after the first file": "a.jpg ,0\nb.png,2\nc.JPEG,1\n",
    "a tab after the first file": "a.jpg\t,0\nb.png,2\nc.JPEG,1\n",
    "quotes and a third column": '"a.jpg","0"\n"b.png","2"\nc.JPEG,1,a remark\n',
    "labels": "a.jpg,tench\nb.png,tiger shark\nc.JPEG,Great_White_Shark\n",
    "labels and heading": 'name,label\na.jpg,Tench\nb.png,"Tiger  shark"\nc.JPEG,great white shark\n',
    "labels and indices": "a.jpg,0\nb.png,tiger_shark\nc.JPEG,1\n",
}
"""Ways to write down the same three answers."""


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_a_table_says_what_each_photo_shows(content: str, tmp_path: Path):
    table(touch(tmp_path, "a.jpg", "b.png", "c.JPEG", "not in the table.jpg"), content)
    found = find_photos(tmp_path, FISH, 3, table=None)
    assert answers(found, tmp_path) == {"a.jpg": 0, "b.png": 2, "c.JPEG": 1}
    assert found.origin == "table of 3 photos"


@pytest.mark.parametrize("name", ["photo", "photo.jfif", "file.2024"])
def test_a_table_may_name_files_of_any_suffix(name: str, tmp_path: Path):
    """`PICTURE_SUFFIXES` says so: a first line that names a file which is there is no heading."""
    table(touch(tmp_path, name, "b.jpg"), f"{name},2\nb.jpg,1\n")
    assert answers(find_photos(tmp_path, None, 3, table=None), tmp_path) == {name: 2, "b.jpg": 1}


def test_a_table_keeps_its_order_and_may_name_folders(tmp_path: Path):
    table(touch(tmp_path, "x/b.jpg", "x/a.jpg"), "x/b.jpg,1\nx/a.jpg,0\n")
    found = find_photos(tmp_path, None, 3, table=None)
    assert [path.name for path in found.paths] == ["b.jpg", "a.jpg"]


def test_a_table_may_use_imagenets_ids(tmp_path: Path):
    table(touch(tmp_path, "a.jpg", "b.jpg"), "a.jpg,n02111889\nb.jpg,N01440764\n")
    assert answers(find_photos(tmp_path, None, 1000, table=None), tmp_path) == {"a.jpg": 258, "b.jpg": 0}


def test_a_table_that_is_given_counts_more_and_files_are_relative_to_it(tmp_path: Path):
    table(touch(tmp_path, "photos/a.jpg"), "photos/a.jpg,2\n", "answers.csv")
    table(tmp_path / "photos", "a.jpg,1\n")
    found = find_photos(tmp_path / "photos", None, 3, table=tmp_path / "answers.csv")
    assert answers(found, tmp_path) == {"photos/a.jpg": 2}


def test_a_table_counts_more_than_folders(tmp_path: Path):
    table(touch(tmp_path, "0/a.jpg", "1/b.jpg"), "0/a.jpg,2\n1/b.jpg,2\n")
    assert answers(find_photos(tmp_path, None, 3, table=None), tmp_path) == {"0/a.jpg": 2, "1/b.jpg": 2}


# Folders.


def test_folders_named_by_imagenets_ids_may_be_some_of_the_classes(tmp_path: Path):
    touch(tmp_path, *(f"{name}/{index}.JPEG" for name in IMAGENETTE for index in (1, 2)))
    found = find_photos(tmp_path, _IMAGENET_CATEGORIES, 1000, table=None)
    names = {
        name: _IMAGENET_CATEGORIES[index]
        for name, index in ((path.parent.name, index) for path, index in zip(found.paths, found.classes, strict=True))
    }
    assert [*names.values()] == ["tench", "English springer", "cassette player", "chain saw", "church"]
    assert found.origin == "names of 5 folders"
    assert len(found.paths) == 10


@pytest.mark.parametrize(
    "folders",
    [
        ("tench", "great_white_shark", "tiger_shark"),
        ("Tench", "great white shark", "Tiger_Shark"),
        ("0", "1", "2"),
        ("0", "great_white_shark", "2"),
    ],
)
def test_folders_are_named_by_label_or_index(folders: tuple[str, ...], tmp_path: Path):
    touch(tmp_path, *(f"{folder}/photo.jpg" for folder in folders))
    found = answers(find_photos(tmp_path, FISH, 3, table=None), tmp_path)
    assert found == {f"{folder}/photo.jpg": index for index, folder in enumerate(folders)}


def test_a_label_that_is_another_classes_index_matches_neither(tmp_path: Path):
    """Labels "1" and "0", in this order: a folder "1" may mean either."""
    touch(tmp_path, "0/a.jpg", "1/a.jpg", "2/a.jpg")
    assert "2 of 3 class names match none of the model's 3 ('0')" in refusal(tmp_path, ("1", "0", "2"))
    digits = find_photos(tmp_path, ("0", "1", "2"), 3, table=None)
    assert answers(digits, tmp_path) == {"0/a.jpg": 0, "1/a.jpg": 1, "2/a.jpg": 2}


@pytest.mark.parametrize("names", [None, FISH])
def test_as_many_unknown_names_as_classes_count_in_the_order_of_torchvision(
    names: Sequence[str] | None, tmp_path: Path
):
    """Capitals before small letters, and "10" before "9"."""
    touch(tmp_path, "b/2.jpg", "b/10.png", "B/photo.jpeg", "a 10/x.jpg", "a 9/below/y.jpg", "a 9/x.jpg", "é/x.jpg")
    theirs = ImageFolder(tmp_path)
    found = find_photos(tmp_path, names, 5, table=None)
    assert answers(found, tmp_path) == {str(Path(path).relative_to(tmp_path)): index for path, index in theirs.samples}
    assert found.origin == "5 folders, in alphabetical order"
    assert theirs.classes == ["B", "a 10", "a 9", "b", "é"]


@pytest.mark.parametrize("folders", [("x", "y"), ("w", "x", "y", "z"), ("tench", "x", "y")])
def test_the_alphabet_does_not_count_otherwise(folders: tuple[str, ...], tmp_path: Path):
    touch(tmp_path, *(f"{folder}/photo.jpg" for folder in folders))
    assert "none of the model's 3" in refusal(tmp_path, FISH)


def test_a_name_that_two_classes_share_matches_none(tmp_path: Path):
    shared = ("crane", "ox", "Crane", "crane")
    touch(tmp_path, "ox/a.jpg")
    assert answers(find_photos(tmp_path, shared, 4, table=None), tmp_path) == {"ox/a.jpg": 1}
    touch(tmp_path, "crane/a.jpg")
    assert refusal(tmp_path, shared, 4) == (
        f"{tmp_path}: 1 of 2 class names match none of the model's 4 ('crane'); {NAME_THEM}"
    )


def test_torchvisions_names_all_match_but_those_that_differ_only_in_capitals(tmp_path: Path):
    plain = Counter(name.casefold() for name in _IMAGENET_CATEGORIES)
    shared = {name for name, times in plain.items() if times > 1}
    assert shared == {"cardigan"}  # the dog and the jacket
    unique = {index: name for index, name in enumerate(_IMAGENET_CATEGORIES) if name.casefold() not in shared}
    files = {f"{index}.jpg": name for index, name in unique.items()}
    table(touch(tmp_path, *files), "".join(f'{file},"{name}"\n' for file, name in files.items()))
    found = find_photos(tmp_path, _IMAGENET_CATEGORIES, 1000, table=None)
    assert answers(found, tmp_path) == {f"{index}.jpg": index for index in unique}
    table(touch(tmp_path, "a.jpg"), "a.jpg,Cardigan\n")
    assert "('Cardigan')" in refusal(tmp_path, _IMAGENET_CATEGORIES, 1000)


def test_what_is_hidden_empty_or_no_picture_is_ignored(tmp_path: Path):
    touch(tmp_path, "0/a.jpg", "0/._a.jpg", "0/notes.txt", "2/b.webp", ".git/c.jpg", "README.md", "loose.jpg")
    touch(tmp_path, "thumbnails/.DS_Store")
    assert answers(find_photos(tmp_path, None, 3, table=None), tmp_path) == {"0/a.jpg": 0, "2/b.webp": 2}


def test_hidden_folders_inside_a_classes_folder_are_ignored_too(tmp_path: Path):
    """File managers keep small copies in .thumbnails, notebooks a second one in .ipynb_checkpoints."""
    touch(tmp_path, "0/a.jpg", "0/.thumbnails/a.jpg", "0/below/.ipynb_checkpoints/b.jpg", "0/below/b.jpg")
    assert answers(find_photos(tmp_path, None, 3, table=None), tmp_path) == {"0/a.jpg": 0, "0/below/b.jpg": 0}


# What goes wrong.


def test_a_folder_that_is_missing(tmp_path: Path):
    missing = tmp_path / "nowhere"
    assert refusal(missing) == f"{missing}: no such folder; give a folder of photos"
    file = touch(tmp_path, "a.jpg") / "a.jpg"
    assert refusal(file) == f"{file}: no such folder; give a folder of photos"


def test_photos_without_labels(tmp_path: Path):
    assert refusal(touch(tmp_path, "a.jpg", "b.jpg")) == f"{tmp_path}: photos without labels; {REMEDY}"


def test_no_photos(tmp_path: Path):
    assert refusal(tmp_path) == f"{tmp_path}: no photos; {REMEDY}"
    assert refusal(touch(tmp_path, "0/notes.txt")) == f"{tmp_path}: no photos; {REMEDY}"


def test_hidden_photos_are_no_photos(tmp_path: Path):
    assert refusal(touch(tmp_path, ".trash/a.jpg", "._b.jpg")) == f"{tmp_path}: no photos; {REMEDY}"


def test_classes_that_match_none(tmp_path: Path):
    touch(tmp_path, "cats/a.jpg", "dogs/a.jpg")
    assert refusal(tmp_path, FISH) == (
        f"{tmp_path}: 2 of 2 class names match none of the model's 3 ('cats'); {NAME_THEM}"
    )
    written = table(tmp_path, "cats/a.jpg,n01440764\ndogs/a.jpg,n01440764\n")
    assert refusal(tmp_path, FISH) == (
        f"{written}: 1 of 1 class names match none of the model's 3 ('n01440764'); {NAME_THEM}"
    )


@pytest.mark.parametrize("beyond", ["3", "-1", "1.0", "01", "nothing"])
def test_some_classes_that_match_none(beyond: str, tmp_path: Path):
    written = table(touch(tmp_path, "a.jpg", "b.jpg", "c.jpg"), f"a.jpg,2\nb.jpg,{beyond}\nc.jpg,{beyond}\n")
    assert refusal(tmp_path) == f"{written}: 1 of 2 class names match none of the model's 3 ('{beyond}'); {NAME_THEM}"


def test_a_table_that_names_missing_files(tmp_path: Path):
    written = table(touch(tmp_path, "a.jpg"), "a.jpg,0\ngone.jpg,1\nb.jpg,1\n")
    assert refusal(tmp_path) == f"{written}: names gone.jpg, which is not there (2 such); mend the table"


@pytest.mark.parametrize("line", ["b.jpg", "b.jpg,", "b.jpg, "])
def test_a_line_without_a_class(line: str, tmp_path: Path):
    written = table(touch(tmp_path, "a.jpg", "b.jpg"), f"file,class\na.jpg,0\n{line}\n")
    assert refusal(tmp_path) == f"{written}: photo 2 has no class; write lines of file,class"


@pytest.mark.parametrize("content", ["", "\n\n", "file,class\n", "\ufeff"])
def test_an_empty_table(content: str, tmp_path: Path):
    written = table(touch(tmp_path, "a.jpg"), content)
    assert refusal(tmp_path) == f"{written}: has no lines; {REMEDY}"


def test_a_table_that_is_no_utf8(tmp_path: Path):
    written = table(touch(tmp_path, "a.jpg"), "a.jpg,Möwe\n".encode("latin-1"))
    message = refusal(tmp_path)
    assert message.startswith(f"{written}: cannot be read ('utf-8' codec can't decode byte 0xf6")
    assert message.endswith("; give a table of file,class")


def test_a_table_that_is_missing(tmp_path: Path):
    message = refusal(touch(tmp_path, "0/a.jpg"), given=tmp_path / "gone.csv")
    assert message.startswith(f"{tmp_path / 'gone.csv'}: cannot be read (")


# ImageNet's ids.


def test_the_ids_are_imagenets_in_the_order_of_timm_and_torchvision(tmp_path: Path):
    ids = ImageNetInfo("imagenet-1k").label_names()
    assert len(ids) == len(set(ids)) == len(_IMAGENET_CATEGORIES) == 1000
    files = [f"{number}.jpg" for number in range(1000)]
    written = table(touch(tmp_path, *files), "".join(f"{file},{name}\n" for file, name in zip(files, ids, strict=True)))
    found = find_photos(tmp_path, None, 1000, table=written)
    assert found.classes == tuple(range(1000))
    assert (_IMAGENET_CATEGORIES[ids.index("n01440764")], _IMAGENET_CATEGORIES[258]) == ("tench", "Samoyed")


def test_models_of_other_sizes_know_no_ids(tmp_path: Path):
    assert "1 of 1 class names match none of" in refusal(touch(tmp_path, "n01440764/a.jpg"), classes=1001)
