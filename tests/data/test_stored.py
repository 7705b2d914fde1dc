"""Rows from wherever they are kept: the same rows, the same result, in memory that does not grow with them."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import torch
from tests.common.small import small

from deepclust.data import parquet, stored
from deepclust.data.readers import ReadOptions, read_input
from deepclust.data.stored import as_stored, gathered
from deepclust.errors import DeepclustError, InvalidDataError

X = np.random.default_rng(0).normal(size=(700, 6)).astype(np.float32)


class Pairs(torch.utils.data.Dataset):
    """Rows with labels that must not matter."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return torch.from_numpy(self.rows[i]), i


def zarr_array(folder):
    zarr = pytest.importorskip("zarr")
    return zarr.create_array(str(folder / "x.zarr"), data=X, chunks=(100, 6))


def h5_array(folder):
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "x.h5", "w")
    return file.create_dataset("x", data=X, chunks=(64, 6))


def annotated(folder, sparse=False, backed=False):
    anndata = pytest.importorskip("anndata")
    data = anndata.AnnData(scipy.sparse.csr_matrix(X) if sparse else X)
    if not backed:
        return data
    data.write_h5ad(folder / "x.h5ad")
    return anndata.read_h5ad(folder / "x.h5ad", backed="r")


def hugging_face(folder, as_vector=False):
    datasets = pytest.importorskip("datasets")
    columns = {"code": X.tolist()} if as_vector else {f"c{i}": X[:, i] for i in range(6)}
    return datasets.Dataset.from_dict(columns)


def arrow(folder):
    return pa.table({f"c{i}": X[:, i] for i in range(6)})


def arrow_vectors(folder):
    return pa.table({"code": pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 6)})


def arrow_dataset(folder):
    from pyarrow import dataset

    pq.write_table(arrow(folder), folder / "x.parquet", row_group_size=90)
    return dataset.dataset(folder / "x.parquet")


SOURCES = {
    "zarr": zarr_array,
    "h5py": h5_array,
    "anndata": annotated,
    "anndata sparse": lambda folder: annotated(folder, sparse=True),
    "anndata backed": lambda folder: annotated(folder, backed=True),
    "anndata sparse backed": lambda folder: annotated(folder, sparse=True, backed=True),
    "hugging face": hugging_face,
    "hugging face vectors": lambda folder: hugging_face(folder, as_vector=True),
    "arrow": arrow,
    "arrow vectors": arrow_vectors,
    "arrow dataset": arrow_dataset,
    "torch dataset": lambda folder: Pairs(X),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOURCES)
def test_a_fit_on_what_holds_rows_is_the_fit_on_the_rows(name, tmp_path):
    source = SOURCES[name](tmp_path)
    found = as_stored(source)
    dense = found.toarray() if scipy.sparse.issparse(found) else np.asarray(found)
    np.testing.assert_allclose(dense, X, rtol=1e-6)
    model = small("dec", epochs=2)
    assert (model.fit(source).labels_ == small("dec", epochs=2).fit(dense.astype(X.dtype)).labels_).all()
    assert (model.predict(source) == model.labels_).all()


def test_what_is_large_goes_to_disk_and_the_disk_is_free_again(monkeypatch, tmp_path):
    monkeypatch.setattr(stored, "IN_MEMORY", 10_000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    blocks = (np.full((1000, 50), i, dtype=np.float32) for i in range(200))  # 40 MB
    tracemalloc.start()
    whole = gathered(blocks, 200_000)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000, "a block at a time"
    tracemalloc.stop()
    assert isinstance(whole, np.memmap)
    assert whole.shape == (200_000, 50)
    assert (whole[[0, 1000, 199_999], 0] == [0, 1, 199]).all()
    assert list(tmp_path.iterdir()) == [], "the file has no name that could be left behind"


def test_rows_that_are_not_alike_are_refused():
    with pytest.raises(InvalidDataError, match="Rows 3 to 5 have shape"):
        gathered([np.zeros((3, 2)), np.zeros((2, 4))], 5)
    with pytest.raises(InvalidDataError, match="more than the 4 rows"):
        gathered([np.zeros((3, 2)), np.zeros((2, 2))], 4)
    with pytest.raises(InvalidDataError, match="There are 3 rows, and 4 were promised"):
        gathered([np.zeros((3, 2))], 4)
    with pytest.raises(InvalidDataError, match="dtype"):
        gathered([np.zeros((3, 2), np.uint8), np.zeros((2, 2))], 5)
    uneven = Pairs([np.zeros(3, np.float32), np.zeros(4, np.float32)])
    with pytest.raises(InvalidDataError, match="different shapes"):
        as_stored(uneven)

    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield X[0]

    with pytest.raises(InvalidDataError, match="has no length"):
        as_stored(Endless())
    with pytest.raises(InvalidDataError, match="different lengths"):
        as_stored(pa.table({"a": [[1, 2], [3]]}))
    with pytest.raises(InvalidDataError, match="hold no numbers: 'a'"):
        as_stored(pa.table({"a": ["x"]}))
    with pytest.raises(InvalidDataError, match="1 missing values"):
        as_stored(pa.table({"a": [1.0, None]}))


@pytest.fixture
def parts(tmp_path):
    """A partitioned folder of Parquet, with ids, labels and a vector in it."""
    folder = tmp_path / "parts"
    for year in (2025, 2026):
        (folder / f"year={year}").mkdir(parents=True)
        half = X[:350] if year == 2025 else X[350:]
        table = pa.table(
            {
                "name": [f"{year}-{i}" for i in range(350)],
                "a": half[:, 0],
                "rest": pa.FixedSizeListArray.from_arrays(pa.array(half[:, 1:].ravel()), 5),
                "group": ["x", "y"] * 175,
            }
        )
        pq.write_table(table, folder / f"year={year}" / "x.parquet", row_group_size=100)
    return folder


@pytest.mark.parametrize("is_large", [False, True])
def test_folders_of_parquet_are_read_whole_or_in_batches_alike(is_large, parts, monkeypatch):
    if is_large:
        monkeypatch.setattr(parquet, "IN_MEMORY", 1000)
        monkeypatch.setattr(parquet, "_BATCH", 64)
    loaded = read_input(str(parts), ReadOptions(id_column="name", labels="group"))
    assert loaded.feature_names == ["a", *(f"rest[{i}]" for i in range(5)), "year"]
    np.testing.assert_allclose(loaded.X[:, :6], X, rtol=1e-6)
    assert set(loaded.X[:, 6]) == {2025, 2026}
    assert loaded.ids[[0, 350]].tolist() == ["2025-0", "2026-0"]
    assert loaded.y[:2].tolist() == ["x", "y"]
    again = read_input(str(parts), ReadOptions(id_column="name", labels="group"), encoder=loaded.encoder)
    np.testing.assert_allclose(again.X, loaded.X, rtol=1e-6)


def test_parquet_beside_images_does_not_make_them_a_table(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / "a.png")
    pq.write_table(pa.table({"file": ["a.png"], "author": ["me"]}), tmp_path / "metadata.parquet")
    assert read_input(str(tmp_path)).X.shape == (1, 5, 4)


def test_a_full_disk_is_not_called_a_broken_file(tmp_path):
    import errno

    from deepclust.data.foreign import foreign

    with pytest.raises(OSError, match="No space") as caught, foreign(tmp_path / "x.zarr", "truncated"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not isinstance(caught.value, DeepclustError)
    with pytest.raises(DeepclustError, match=r"x\.zarr is truncated"), foreign(tmp_path / "x.zarr", "truncated"):
        raise OSError(errno.EIO, "Input/output error")


def test_large_tables_of_text_say_what_to_do(parts, monkeypatch):
    monkeypatch.setattr(parquet, "IN_MEMORY", 1000)
    with pytest.raises(InvalidDataError, match="'group'"):
        read_input(str(parts), ReadOptions(id_column="name"))
    with pytest.raises(InvalidDataError, match="no column 'absent'"):
        read_input(str(parts), ReadOptions(id_column="absent"))


@pytest.mark.filterwarnings("ignore")
def test_files_of_stores_are_read_by_the_command_line(tmp_path, run):
    pytest.importorskip("zarr")
    anndata = pytest.importorskip("anndata")
    import pandas as pd

    zarr_array(tmp_path)
    np.testing.assert_array_equal(read_input(str(tmp_path / "x.zarr")).X, X)
    names = [f"cell{i}" for i in range(len(X))]
    data = anndata.AnnData(X, obs=pd.DataFrame({"kind": ["a", "b"] * 350}, index=names))
    data.obsm["pca"] = X[:, :2]
    data.write_h5ad(tmp_path / "cells.h5ad")
    loaded = read_input(str(tmp_path / "cells.h5ad"), ReadOptions(labels="kind"))
    np.testing.assert_array_equal(loaded.X, X)
    assert loaded.ids[5] == "cell5"
    assert loaded.y[:2].tolist() == ["a", "b"]
    assert read_input(str(tmp_path / "cells.h5ad"), ReadOptions(data_key="pca")).X.shape == (700, 2)
    with pytest.raises(DeepclustError, match="has no array 'tsne'"):
        read_input(str(tmp_path / "cells.h5ad"), ReadOptions(data_key="tsne"))
    (tmp_path / "broken.h5ad").write_bytes(b"no such thing")
    with pytest.raises(DeepclustError, match="not an AnnData file"):
        read_input(str(tmp_path / "broken.h5ad"))
    (tmp_path / "broken.zarr").mkdir()
    with pytest.raises(DeepclustError, match="not a Zarr store"):
        read_input(str(tmp_path / "broken.zarr"))
