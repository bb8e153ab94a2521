"""The table of contents of a saved map: its files, with the hash that verifies each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from scal3r_ros.errors import MappingError

FORMAT = "scal3r_ros map"
VERSION = 1
MANIFEST = "manifest.json"
PARTS = "parts"
"""The folder of a map's files; nothing else lies in it."""
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One file of a map: the name it bears in `PARTS`, its size in bytes and the hash of its content."""

    stored_as: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """`entries` by the name of the part; `facts` about the map, plain JSON values that a person may want to read."""

    entries: Mapping[str, Entry]
    facts: Mapping[str, object]


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of a manifest's file. Its last line is a hash of all others."""
    body = {
        "format": FORMAT,
        "version": VERSION,
        "facts": dict(manifest.facts),
        "files": {name: asdict(entry) for name, entry in manifest.entries.items()},
    }
    return json.dumps(body | {"sha256": _hash_of(body)}, indent=1).encode()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the map in `folder`.

    Raises:
        MappingError: there is no map, it is of a version that this one cannot read, or its manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise MappingError(
            f"{folder} holds no map: it has no {MANIFEST}; name the folder that a map was saved to"
        ) from error
    except OSError as error:
        raise MappingError(f"{path} cannot be read: {error.strerror}") from error
    try:
        body = json.loads(content)
        if body["format"] != FORMAT:
            raise MappingError(f"{path} is the manifest of something else; name the folder that a map was saved to")
        if body["version"] != VERSION:
            raise MappingError(
                f"the map in {folder} is of version {body['version']}, and this scal3r_ros reads version {VERSION}: "
                "load it with the scal3r_ros that saved it"
            )
        whole = body.pop("sha256") == _hash_of(body)
        entries = {str(name): Entry(**entry) for name, entry in body["files"].items()}
        facts = dict(body["facts"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MappingError(f"{path} is damaged; restore that file from a copy") from error
    if not whole or any(Path(entry.stored_as).name != entry.stored_as for entry in entries.values()):
        raise MappingError(f"{path} is damaged; restore that file from a copy")
    return Manifest(entries, facts)


def entry_of(path: Path, stored_as: str) -> Entry:
    """The entry of a file as it is on the disk; raises `OSError` where it cannot be read."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return Entry(stored_as, size, digest.hexdigest())


def _hash_of(body: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
