"""Whatever a user names on the command line, as rows: a data set, a file, a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepclust.data.foreign import foreign
from deepclust.data.idx import read_idx
from deepclust.data.images import Mode, read_folder
from deepclust.data.matlab import read_mat
from deepclust.data.parquet import fits_in_memory, is_parquet_folder, open_parquet, read_column, stream_rows
from deepclust.data.sets import DATASETS, load_dataset
from deepclust.data.stored import as_stored
from deepclust.data.tables import Categorical, Missing, TableEncoder
from deepclust.errors import InvalidDataError, MissingExtraError, UnreadableFileError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ReadOptions:
    """How to read; every field is plain JSON, so that a run can be read again."""

    data_key: str | None = None
    id_column: str | None = None
    labels: str | None = None
    missing: Missing = "error"
    categorical: Categorical = "error"
    image_size: tuple[int, int] | None = None
    image_mode: Mode = "auto"
    skip_bad: bool = False


@dataclass(frozen=True)
class Loaded:
    """Rows with what identifies them.

    Attributes
    ----------
    name : str
        Short name for titles and folders.
    X : array
        Rows.
    id_name : str or None
        What ``ids`` are: ``"path"`` or the id column's name.
    ids : array or None
        One a row.
    y : array or None
        Labels, for evaluation only.
    encoder : TableEncoder or None
        How a table became numbers.
    feature_names : list of str or None
        Names of the values in a row.
    notes : list of str
        What the user should know, such as files left out.
    """

    name: str
    X: Any
    id_name: str | None = None
    ids: Array | None = None
    y: Array | None = None
    encoder: TableEncoder | None = None
    feature_names: list[str] | None = None
    notes: list[str] = field(default_factory=list)


def read_input(
    source: str,
    options: ReadOptions | None = None,
    *,
    encoder: TableEncoder | None = None,
    watch: Callable[[float], None] | None = None,
) -> Loaded:
    """Read a data set's name, a file, or a folder of images or of Parquet files.

    Parameters
    ----------
    source
        What the user named.
    options
        How to read it.
    encoder
        For a table, the fitted encoder of a former run.
    watch
        Called with the share that is done, where reading is long.

    Raises
    ------
    UnreadableFileError
        Where it is missing, truncated, or of no known format.
    """
    options = options or ReadOptions()
    if source in DATASETS:
        data = load_dataset(source)
        own = data.y if options.labels is None else None  # labels that the user names come before the publisher's
        return _with_labels(Loaded(name=data.name, X=data.X, y=own), options)
    path = Path(source)
    if "\0" in source or not path.exists():
        raise UnreadableFileError(f"{source} is neither a file, nor a folder, nor a data set ({', '.join(DATASETS)}).")
    if path.suffix.lower() == ".zarr":
        return _with_labels(Loaded(name=path.stem, X=_read_zarr(path, options, watch)), options)
    if is_parquet_folder(path):
        return _with_labels(_table(path, options, encoder, watch), options)
    if path.is_dir():
        return _with_labels(_images(path, options, watch), options)
    reader = _reader(path)
    if reader is None:
        raise UnreadableFileError(
            f"{path} is of no known format. Known: {', '.join(sorted([*_ARRAYS, *_TABLES, '.h5ad', '.zarr']))}, "
            "IDX (…-ubyte, .idx, .gz), folders of images and folders of Parquet files."
        )
    loaded = reader(path, options, encoder)
    return _with_labels(loaded, options)


def read_labels(path: Path) -> Array:
    """Read one label a row from an .npy, .csv, .parquet, .txt or IDX file."""
    if path.suffix == ".txt":
        with foreign(path, "not text"):
            return np.asarray(path.read_text().split())
    reader = _reader(path)
    if reader is None:
        raise UnreadableFileError(f"{path} is of no known format for labels: use .txt, .csv, .npy, .parquet or IDX.")
    if path.suffix in _TABLES:
        table = _read_csv(path) if path.suffix == ".csv" else _read_parquet(path, open_parquet(path))
        if len(table.column_names) != 1:
            names = ", ".join(table.column_names)
            raise InvalidDataError(f"{path} must have one column, the labels; it has {names}.")
        return np.asarray(table.column(0).to_pylist())
    return np.asarray(reader(path, ReadOptions(), None).X).ravel()


def _reader(path: Path) -> Callable[[Path, ReadOptions, TableEncoder | None], Loaded] | None:
    suffix = path.suffix.lower()
    if suffix in _ARRAYS:
        return lambda p, o, _: Loaded(name=p.stem, X=_ARRAYS[suffix](p, o))
    if suffix == ".h5ad":
        return _read_h5ad
    if suffix in _TABLES:
        return _table
    if suffix in (".gz", ".idx", ".idx1", ".idx3") or path.name.endswith("-ubyte"):
        return lambda p, o, _: Loaded(name=p.name.split(".")[0].split("-idx")[0], X=read_idx(p))
    return None


def _with_labels(loaded: Loaded, options: ReadOptions) -> Loaded:
    """Add labels from a file, where the user named one that is not a column of the table."""
    if options.labels is None or loaded.y is not None:
        return _checked(loaded)
    path = Path(options.labels)
    if options.labels == "folder" and loaded.id_name == "path" and loaded.ids is not None:
        return _replaced(loaded, y=np.asarray([str(Path(str(p)).parent) for p in loaded.ids]))
    if not path.is_file():
        columns = f"; the table has {', '.join(loaded.feature_names)}" if loaded.feature_names else ""
        raise InvalidDataError(f"--labels {options.labels!r} is neither a column nor a file{columns}.")
    return _checked(_replaced(loaded, y=read_labels(path)))


def _checked(loaded: Loaded) -> Loaded:
    if loaded.y is not None and len(loaded.y) != len(loaded.X):
        raise InvalidDataError(f"There are {len(loaded.y)} labels for {len(loaded.X)} rows; there must be one a row.")
    return loaded


def _replaced(loaded: Loaded, **changes: Any) -> Loaded:
    return Loaded(**{**loaded.__dict__, **changes})


def _images(path: Path, options: ReadOptions, watch: Callable[[float], None] | None) -> Loaded:
    found = read_folder(path, size=options.image_size, mode=options.image_mode, skip_bad=options.skip_bad, watch=watch)
    notes = [f"{name} was left out: {reason}" for name, reason in found.bad]
    return Loaded(name=path.resolve().name, X=found.images, id_name="path", ids=np.asarray(found.paths), notes=notes)


def _table(
    path: Path,
    options: ReadOptions,
    encoder: TableEncoder | None,
    watch: Callable[[float], None] | None = None,
) -> Loaded:
    if path.is_dir() or path.suffix.lower() == ".parquet":
        data = open_parquet(path)
        if not fits_in_memory(data):
            return _large_table(path, data, options, encoder, watch)
        table = _read_parquet(path, data)
    else:
        table = _read_csv(path)
    if table.num_rows == 0:
        raise InvalidDataError(f"{path} has no rows.")
    id_name, ids, y = options.id_column, None, None
    if id_name is not None:
        ids, table = _take(table, id_name, path)
    if options.labels is not None and options.labels in table.column_names:
        y, table = _take(table, options.labels, path)
    if encoder is None:
        encoder = TableEncoder(missing=options.missing, categorical=options.categorical).fit(table)
    X = encoder.transform(table)
    names = [str(name) for name in encoder.get_feature_names_out()]
    still = [name for name, low, high in zip(names, X.min(axis=0), X.max(axis=0), strict=True) if low == high]
    notes = [f"column {name!r} is constant, so it tells no rows apart" for name in still] if len(X) > 1 else []
    return Loaded(name=path.stem, X=X, id_name=id_name, ids=ids, y=y, encoder=encoder, feature_names=names, notes=notes)


def _large_table(
    path: Path,
    data: Any,
    options: ReadOptions,
    encoder: TableEncoder | None,
    watch: Callable[[float], None] | None,
) -> Loaded:
    """Read a table of numbers that is too large to be read as a whole."""
    has_labels = options.labels is not None and options.labels in data.schema.names
    beside = [name for name in (options.id_column, options.labels if has_labels else None) if name is not None]
    ids = None if options.id_column is None else read_column(data, options.id_column, path)
    y = read_column(data, str(options.labels), path) if has_labels else None
    X, encoder = stream_rows(data, path, encoder, beside, watch=watch)
    names = [str(name) for name in encoder.get_feature_names_out()]
    return Loaded(name=path.stem, X=X, id_name=options.id_column, ids=ids, y=y, encoder=encoder, feature_names=names)


def _take(table: Any, column: str, path: Path) -> tuple[Array, Any]:
    if column not in table.column_names:
        raise InvalidDataError(f"{path} has no column {column!r}; it has {', '.join(table.column_names)}.")
    return np.asarray(table.column(column).to_pylist()), table.drop_columns([column])


def _read_npy(path: Path, options: ReadOptions) -> Array:
    with foreign(path, "truncated or not an array file"):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _read_npz(path: Path, options: ReadOptions) -> Array:
    with (
        foreign(path, "truncated or not an .npz file"),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as content,
    ):
        return np.asarray(content[_pick(list(content.files), options.data_key, path)])


def _read_mat(path: Path, options: ReadOptions) -> Array:
    return read_mat(path, options.data_key, lambda keys: _pick(keys, options.data_key, path))


def _pick(keys: list[str], wanted: str | None, path: Path) -> str:
    """Choose the array: the one named, or the only one."""
    if wanted in keys:
        return str(wanted)
    if wanted is None and len(keys) == 1:
        return keys[0]
    what = "has several arrays" if wanted is None else f"has no array {wanted!r}"
    raise InvalidDataError(f"{path} {what}: {', '.join(keys)}. Name one with --data-key.")


def _read_csv(path: Path) -> Any:
    from pyarrow import csv

    with foreign(path, "not a table of comma-separated values"):
        return _in_unicode(csv.read_csv(path))


def _read_parquet(path: Path, data: Any) -> Any:
    with foreign(path, "truncated or not a Parquet file"):
        return _in_unicode(data.to_table())


def _read_zarr(path: Path, options: ReadOptions, watch: Callable[[float], None] | None) -> Array:
    try:
        import zarr
    except ImportError as error:
        raise MissingExtraError(
            "Reading .zarr needs the package zarr, which is not installed: pip install 'deepclust[stores]'."
        ) from error
    with foreign(path, "truncated or not a Zarr store"):
        found = zarr.open(str(path), mode="r")
        if not hasattr(found, "shape"):
            found = found[_pick(sorted(found.array_keys()), options.data_key, path)]
        array: Array = as_stored(found, watch=watch)
        return array


def _read_h5ad(path: Path, options: ReadOptions, encoder: TableEncoder | None) -> Loaded:
    try:
        import anndata
    except ImportError as error:
        raise MissingExtraError(
            "Reading .h5ad needs the package anndata, which is not installed: pip install 'deepclust[stores]'."
        ) from error
    with foreign(path, "truncated or not an AnnData file"):
        data = anndata.read_h5ad(path, backed="r")
        try:
            wanted = options.data_key
            if wanted is not None and wanted not in data.layers and wanted not in data.obsm:
                _pick([*data.layers, *data.obsm], wanted, path)
            source = data if wanted is None else data.layers[wanted] if wanted in data.layers else data.obsm[wanted]
            names = [str(name) for name in data.var_names] if wanted is None or wanted in data.layers else None
            is_column = options.labels is not None and options.labels in data.obs
            y = np.asarray(data.obs[options.labels].astype(str)) if is_column else None
            ids = np.asarray([str(name) for name in data.obs_names])
            return Loaded(path.stem, as_stored(source), "obs", ids, y, feature_names=names)
        finally:
            data.file.close()


def _in_unicode(table: Any) -> Any:
    """Refuse a table with names or text that are not UTF-8; Arrow would tell only when they are used."""
    import pyarrow as pa

    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        if pa.types.is_binary(kind):
            raise ValueError(f"column {name!r} is not UTF-8 text")
    return table


_ARRAYS: dict[str, Callable[[Path, ReadOptions], Array]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".mat": _read_mat,
}
_TABLES = (".csv", ".parquet")
