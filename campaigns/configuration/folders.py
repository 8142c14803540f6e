"""The folder of a configuration: a sub-folder for each kind, in it a file for each object."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.utils.text import slugify

from campaigns.errors import ConfigurationFault, InvalidConfiguration
from config.files.documents import InvalidDocument, load_document

SUFFIX: Final = ".yaml"
MAX_FILE_BYTES: Final = 4_194_304
_LONGEST_STEM: Final = 80
_DIGEST: Final = 10
# Devices of Windows, which cannot be files there, whatever follows the dot.
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
)


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read: where it is below the folder, and the object that it spells."""

    path: str
    value: Mapping[str, Any]


def file_names(names: Collection[str]) -> dict[str, str]:
    """Return the file of each name: in small letters of ASCII, with a digest of the name where that says too little.

    The files of different names differ, also where a file system ignores case.
    """
    slugs = {name: slugify(name) for name in names}
    shared = {slug for slug, count in Counter(slugs.values()).items() if count > 1}
    return {
        name: f"{_with_digest(slug, name) if slug in shared or not _is_telling(slug) else slug}{SUFFIX}"
        for name, slug in slugs.items()
    }


def read_folder(folder: Path, kinds: Sequence[str]) -> dict[str, list[Document]]:
    """Return the documents of the kinds that have a sub-folder, in the order of their paths.

    Raises InvalidConfiguration, which names every file that cannot be read.
    """
    found: dict[str, list[Document]] = {}
    faults: list[ConfigurationFault] = []
    for kind in kinds:
        if not (folder / kind).is_dir():
            continue
        found[kind] = []
        for file in sorted((folder / kind).iterdir()):
            path = f"{kind}/{file.name}"
            if file.suffix.lower() in (".yml", ".yaml", ".json") and file.suffix != SUFFIX:
                faults.append(ConfigurationFault(path, "", f"Its name must end with {SUFFIX}."))
            elif file.suffix == SUFFIX:
                try:
                    found[kind].append(Document(path, load_document(_content(file, folder))))
                except InvalidDocument as error:
                    faults.append(ConfigurationFault(path, error.path, error.message))
    if faults:
        raise InvalidConfiguration(faults)
    if not found:
        named = ", ".join(kinds)
        raise InvalidConfiguration(
            [ConfigurationFault(str(folder), "", f"It has none of the sub-folders {named}.")]
        )
    return found


def write_folder(folder: Path, files: Mapping[str, str], keys: Mapping[str, str]) -> int:
    """Write the files, and remove those of objects that are gone. Returns how many were removed.

    `keys`: by sub-folder the key that each of its files has; a file without it is none of ours, and stays.
    """
    for kind in {path.partition("/")[0] for path in files}:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    stale = [
        file
        for kind, key in keys.items()
        for file in (folder / kind).glob(f"*{SUFFIX}")
        if f"{kind}/{file.name}" not in files and _is_ours(file, folder, key)
    ]
    # Before the rest is written: to some file systems `Buyers.yaml` and `buyers.yaml` are the same file.
    for file in stale:
        file.unlink()
    for path, text in files.items():
        _write(folder / path, text.encode())
    return len(stale)


def _write(file: Path, content: bytes) -> None:
    """Put a file in its place at once; a link there is replaced, not followed."""
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    draft.write_bytes(content)
    draft.replace(file)


def _content(file: Path, folder: Path) -> bytes:
    """Return what a file has. Raises InvalidDocument for links that lead out of the folder, pipes, and long files."""
    try:
        target = file.resolve(strict=True)
        if not (target.is_file() and target.is_relative_to(folder.resolve())):
            raise InvalidDocument("", "It is no file of this folder.")
        if target.stat().st_size > MAX_FILE_BYTES:
            raise InvalidDocument("", f"It has more than {MAX_FILE_BYTES:,} bytes.")
        return target.read_bytes()
    except (OSError, RuntimeError) as error:
        # A link to itself is a RuntimeError before Python 3.13.
        reason = error.strerror if isinstance(error, OSError) else "it is a link to itself"
        raise InvalidDocument("", f"It cannot be read: {reason}.") from error


def _is_telling(slug: str) -> bool:
    return 0 < len(slug) <= _LONGEST_STEM and slug not in _DEVICES


def _with_digest(slug: str, name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{slug[:_LONGEST_STEM]}-{digest}".lstrip("-")


def _is_ours(file: Path, folder: Path, key: str) -> bool:
    try:
        return isinstance(load_document(_content(file, folder)).get(key), str)
    except InvalidDocument:
        return False
