"""Maps of columns: those of vendors, which come along, and those that are given as a text."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings

from config.files.errors import InvalidMapping
from config.files.mapping import ColumnMapping, load_mapping, read_mapping
from contacts.imports.kinds import ImportKind
from contacts.models import Import


def vendors(kind: Import.Kind) -> list[str]:
    """Return the vendors of whose exports of a kind there is a map, by name."""
    paths = sorted(settings.IMPORT_MAPS.glob("*/imports.yaml"))
    return [path.parent.name for path in paths if kind.value in _kinds_in(path)]


def vendor_map(kind: ImportKind[Any], name: str) -> ColumnMapping | None:
    """Return a vendor's map, None where there is no such vendor. Raises InvalidMapping if it has none of the kind."""
    path: Path = settings.IMPORT_MAPS / name / "imports.yaml"
    if not (name.isidentifier() and path.exists()):
        return None
    return load_mapping(kind.fields, path, kind.kind.value)


def named_map(kind: ImportKind[Any], name: str) -> ColumnMapping:
    """Return the map that is a vendor's, or in a file. Raises InvalidMapping."""
    if (known := vendor_map(kind, name)) is not None:
        return known
    try:
        return load_mapping(kind.fields, Path(name), kind.kind.value)
    except InvalidMapping as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        text = f"The map {name:.200} is no file that is there, and none of the vendors {_listed(kind)}"
        raise InvalidMapping(text) from error


def _listed(kind: ImportKind[Any]) -> str:
    return ", ".join(vendors(kind.kind))


def map_from_text(kind: ImportKind[Any], text: str) -> ColumnMapping:
    """Return the map that a text names or is: a vendor, or a document; "" is none. Raises InvalidMapping."""
    text = text.strip()
    if not text:
        return ColumnMapping(kind.fields)
    if (known := vendor_map(kind, text)) is not None:
        return known
    if text.isidentifier():
        raise InvalidMapping(f"The map {text:.200} is none of the vendors {_listed(kind)}")
    return read_mapping(kind.fields, text.encode(), kind.kind.value)


@cache
def _kinds_in(path: Path) -> frozenset[str]:
    """Return of which kinds a vendor's document has maps; read once a process, for it takes 20 ms."""
    return frozenset(yaml.safe_load(path.read_text("utf-8")))
