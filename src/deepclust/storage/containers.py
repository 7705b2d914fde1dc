"""Where a saved model's files are: in a folder, or in one zip file. Reading trusts neither.

A zip holds its members as they are, uncompressed, so that none can be larger than the file; members of other names,
twice the same name, or compressed ones are refused before anything is read. Nothing is ever extracted.
"""

from __future__ import annotations

import hashlib
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from deepclust.errors import ModelFormatError, shown

MANIFEST, WEIGHTS, RESULT = "model.json", "weights.safetensors", "result.safetensors"
FILES = (MANIFEST, WEIGHTS, RESULT)
_MANIFEST_LIMIT = 16 << 20  # bytes
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member, so that equal models make equal files


class AbstractContainer(ABC):
    """The files of one saved model."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def _read(self, name: str) -> bytes:
        """Return a file's content."""

    @abstractmethod
    def _size(self, name: str) -> int | None:
        """Return a file's size in bytes; None where it is not there."""

    def manifest(self) -> bytes:
        """Return the manifest's content.

        Raises
        ------
        ModelFormatError
            Where there is none, or one larger than any model's.
        """
        size = self._size(MANIFEST)
        if size is None:
            raise ModelFormatError(f"{self.path} is not a saved model: it has no {MANIFEST}.")
        if size > _MANIFEST_LIMIT:
            raise ModelFormatError(f"{self.path}: {MANIFEST} is larger than any model's manifest; it is not read.")
        return self._read(MANIFEST)

    def tensors(self, name: str, digest: str) -> dict[str, Tensor]:
        """Return a file's tensors.

        Raises
        ------
        ModelFormatError
            Where the file is missing, its checksum is not ``digest``, or it is not safetensors.
        """
        if self._size(name) is None:
            raise ModelFormatError(f"{self.path}: {name} is missing; the model is not whole.")
        content = self._read(name)
        if hashlib.sha256(content).hexdigest() != digest:
            raise ModelFormatError(f"{self.path}: {name} is corrupted: its checksum differs from the manifest's.")
        try:
            found: dict[str, Tensor] = safetensors.torch.load(content)
        except Exception as error:  # the library raises errors of many kinds for broken headers
            raise ModelFormatError(f"{self.path}: {name} is not a safetensors file ({error}).") from error
        return found


class _Folder(AbstractContainer):
    def _read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def _size(self, name: str) -> int | None:
        file = self.path / name
        return file.stat().st_size if file.is_file() else None


class _Archive(AbstractContainer):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._open() as archive:
            members = archive.infolist()
        names = [member.filename for member in members]
        odd = sorted({name for name in names if name not in FILES or names.count(name) > 1})
        if odd:
            raise ModelFormatError(
                f"{path} is not a saved model: it should hold {', '.join(FILES)} once each, not {shown(odd[0])}."
            )
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
                raise ModelFormatError(f"{path}: {member.filename} is compressed, which a saved model's files are not.")
            if member.flag_bits & 1:
                raise ModelFormatError(f"{path}: {member.filename} is encrypted, which a saved model's files are not.")
        self._sizes = {member.filename: member.file_size for member in members}

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise ModelFormatError(f"{self.path} is not a saved model: it is no zip file ({error}).") from error

    def _read(self, name: str) -> bytes:
        try:
            with self._open() as archive, archive.open(name) as file:
                return file.read(self._sizes[name] + 1)
        except ModelFormatError:
            raise
        except Exception as error:  # zipfile raises errors of many kinds for broken members
            raise ModelFormatError(f"{self.path}: {name} is corrupted ({error}).") from error

    def _size(self, name: str) -> int | None:
        return self._sizes.get(name)


def open_container(path: Path) -> AbstractContainer:
    """Return the files of a saved model.

    Raises
    ------
    ModelFormatError
        Where there is nothing at the path, or a file that is not such a zip.
    """
    if path.is_dir():
        return _Folder(path)
    if path.is_file():
        return _Archive(path)
    raise ModelFormatError(f"{path} is not a saved model: there is no such folder or file.")


def is_model(path: Path) -> bool:
    """Tell whether there is a saved model at a path, which may be replaced then; it need not be whole."""
    if path.is_dir():
        return (path / MANIFEST).is_file()
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def pack(files: Mapping[str, Path], archive: Path) -> None:
    """Write files into a zip, uncompressed."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for name, file in files.items():
            member = zipfile.ZipInfo(name, _EPOCH)
            member.file_size = file.stat().st_size  # decides whether the member needs the form for large files
            with file.open("rb") as source, out.open(member, "w") as target:
                while block := source.read(1 << 20):
                    target.write(block)
