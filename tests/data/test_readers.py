"""Files in, rows out; what is broken is refused by name."""

import gzip
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.io import savemat

from deepclust.data.readers import ReadOptions, read_input, read_labels
from deepclust.errors import DeepclustError, InvalidDataError, UnreadableFileError

X = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)


def idx(array):
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write(folder, name):
    path = folder / name
    if name.endswith(".npy"):
        np.save(path, X)
    elif name.endswith(".npz"):
        np.savez(path, X=X)
    elif name.endswith(".mat"):
        savemat(path, {"fea": X})
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(idx(X)))
    elif name.endswith(("-ubyte", ".idx")):
        path.write_bytes(idx(X))
    elif name.endswith(".csv"):
        path.write_text("a,b\n" + "\n".join(f"{i},{i * 0.5}" for i in range(6)))
    else:
        pq.write_table(pa.table({"a": np.arange(6), "b": np.arange(6) * 0.5}), path)
    return path


FORMATS = [
    "x.npy",
    "x.npz",
    "x.mat",
    "t10k-images-idx3-ubyte.gz",
    "train-images-idx3-ubyte",
    "x.idx",
    "x.csv",
    "x.parquet",
]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_its_rows(name, tmp_path):
    loaded = read_input(str(write(tmp_path, name)))
    if name.endswith((".csv", ".parquet")):
        np.testing.assert_array_equal(loaded.X, np.column_stack([np.arange(6), np.arange(6) * 0.5]))
        assert loaded.feature_names == ["a", "b"]
    else:
        np.testing.assert_array_equal(loaded.X, X)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "x.csv"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_files_are_refused_by_name(name, keep, tmp_path):
    path = write(tmp_path, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DeepclustError, match=path.name.replace(".", r"\.")):
        read_input(str(path))


@pytest.mark.parametrize("name", FORMATS)
def test_garbage_is_refused_by_name(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(bytes(np.random.default_rng(0).integers(0, 256, 500, dtype=np.uint8)))
    with pytest.raises(DeepclustError, match=path.name.replace(".", r"\.")):
        read_input(str(path))


def test_pickles_inside_arrays_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UnreadableFileError):
        read_input(str(tmp_path / "x.npy"))


def test_several_arrays_ask_for_a_key(tmp_path):
    np.savez(tmp_path / "x.npz", first=X, second=X + 1)
    with pytest.raises(InvalidDataError, match=r"first, second.*--data-key"):
        read_input(str(tmp_path / "x.npz"))
    loaded = read_input(str(tmp_path / "x.npz"), ReadOptions(data_key="second"))
    np.testing.assert_array_equal(loaded.X, X + 1)
    with pytest.raises(InvalidDataError, match="no array 'third'"):
        read_input(str(tmp_path / "x.npz"), ReadOptions(data_key="third"))


def test_columns_of_ids_and_labels_are_no_features(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("name,age,group\nann,1,x\nbob,2,y\ncid,3,x\n")
    loaded = read_input(str(path), ReadOptions(id_column="name", labels="group"))
    np.testing.assert_array_equal(loaded.X, [[1], [2], [3]])
    assert list(loaded.ids) == ["ann", "bob", "cid"]
    assert list(loaded.y) == ["x", "y", "x"]
    with pytest.raises(InvalidDataError, match="no column 'nick'"):
        read_input(str(path), ReadOptions(id_column="nick"))
    with pytest.raises(InvalidDataError, match="not numbers: 'name', 'group'"):
        read_input(str(path))


def test_labels_come_from_files(tmp_path):
    path = write(tmp_path, "x.npy")
    (tmp_path / "y.txt").write_text("a b a b a b")
    (tmp_path / "y.csv").write_text("label\n" + "\n".join("012012"))
    np.save(tmp_path / "y.npy", np.arange(6))
    for name in ("y.txt", "y.csv", "y.npy"):
        assert len(read_input(str(path), ReadOptions(labels=str(tmp_path / name))).y) == 6
    (tmp_path / "y.txt").write_text("a b")
    with pytest.raises(InvalidDataError, match="2 labels for 6 rows"):
        read_input(str(path), ReadOptions(labels=str(tmp_path / "y.txt")))
    with pytest.raises(InvalidDataError, match="neither a column nor a file"):
        read_input(str(path), ReadOptions(labels="nowhere"))
    with pytest.raises(UnreadableFileError):
        read_labels(tmp_path / "y.exe")


def test_labels_of_the_user_come_before_a_publishers(tmp_path):
    (tmp_path / "y.txt").write_text(" ".join(["a", "b"] * 898) + " a")
    assert set(read_input("digits", ReadOptions(labels=str(tmp_path / "y.txt"))).y) == {"a", "b"}
    assert set(read_input("digits").y) == set(range(10))


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(UnreadableFileError, match="neither a file, nor a folder, nor a data set"):
        read_input("nonsense")
    (tmp_path / "x.xyz").write_text("")
    with pytest.raises(UnreadableFileError, match="no known format"):
        read_input(str(tmp_path / "x.xyz"))


def picture(path, size=(20, 10), mode="RGB", colour=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(
        mode, size, colour if colour is not None else {"RGB": (255, 0, 0), "RGBA": (0, 0, 0, 0), "P": 3}.get(mode, 1)
    ).save(path)


def test_folder_of_images_of_any_sizes_and_modes(tmp_path):
    picture(tmp_path / "a" / "1.png", (20, 10))
    picture(tmp_path / "b" / "2.jpg", (30, 40))
    picture(tmp_path / "b" / "3.gif", (20, 10), "P")
    picture(tmp_path / "4.png", (20, 10), "RGBA")
    picture(tmp_path / "5.tif", (20, 10), "I;16", 65535)
    picture(tmp_path / "6.bmp", (20, 10), "1")
    (tmp_path / "notes.txt").write_text("not an image")
    loaded = read_input(str(tmp_path))
    assert loaded.X.shape == (6, 10, 20, 3)
    assert list(loaded.ids) == ["4.png", "5.tif", "6.bmp", "a/1.png", "b/2.jpg", "b/3.gif"]
    assert (loaded.X[0] == 255).all(), "transparent pixels are white"
    assert (loaded.X[1] == 255).all(), "the top of sixteen bits is white"
    assert (loaded.X[3] == [255, 0, 0]).all()
    assert list(read_input(str(tmp_path), ReadOptions(labels="folder")).y) == [".", ".", ".", "a", "b", "b"]
    small = read_input(str(tmp_path), ReadOptions(image_size=(8, 8), image_mode="grey"))
    assert small.X.shape == (6, 8, 8)


def test_grey_images_stay_grey_and_large_ones_shrink(tmp_path):
    for i in range(3):
        picture(tmp_path / f"{i}.png", (300, 150), "L")
    assert read_input(str(tmp_path)).X.shape == (3, 32, 64)


def test_unreadable_images_are_named_and_skipped_only_on_demand(tmp_path):
    picture(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    whole = (tmp_path / "good.png").read_bytes()
    picture(tmp_path / "half.jpg", (200, 200))
    (tmp_path / "half.jpg").write_bytes((tmp_path / "half.jpg").read_bytes()[:300])
    with pytest.raises(UnreadableFileError, match=r"2 of 3 images cannot be read: bad\.png.*half\.jpg.*--skip-bad"):
        read_input(str(tmp_path))
    loaded = read_input(str(tmp_path), ReadOptions(skip_bad=True))
    assert list(loaded.ids) == ["good.png"]
    assert len(loaded.notes) == 2
    assert (tmp_path / "good.png").read_bytes() == whole
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidDataError, match="has no images"):
        read_input(str(tmp_path / "empty"))


def test_constant_columns_are_noted(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,7\n2,7\n3,7\n")
    assert read_input(str(tmp_path / "x.csv")).notes == ["column 'b' is constant, so it tells no rows apart"]
