"""The model catalog: where weights come from, how they are proven right, and where they are kept."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geolabel.adapters.store import Store
from geolabel.errors import AdapterError, InputError, ModelError, NotFoundError

Report = Callable[[int, int | None], None]
_BLOCK = 1 << 20
_SAM1 = "https://dl.fbaipublicfiles.com/segment_anything/"
_SAM2 = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model that can be fetched.

    Attributes:
        name: As chosen in settings and on the command line.
        kind: "sam" (clicks, boxes, automatic masks), "sam3" (words), "backbone" (features).
        url: Of one file, or "".
        sha256: Of that file, or "" where its publisher states none.
        hub_id: Repository on the model hub, or "".
        licence: Of the weights.
        note: What it is for.
    """

    name: str
    kind: str
    url: str = ""
    sha256: str = ""
    hub_id: str = ""
    licence: str = ""
    note: str = ""

    @property
    def file_name(self) -> str:
        """Name of the single file, or "" for a repository."""
        return self.url.rsplit("/", 1)[-1]


CATALOG: tuple[ModelEntry, ...] = (
    ModelEntry(
        name="sam2.1-tiny", kind="sam", url=f"{_SAM2}sam2.1_hiera_tiny.pt", licence="Apache-2.0",
        sha256="7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69", note="fast on a CPU",
    ),
    ModelEntry(
        name="sam2.1-small", kind="sam", url=f"{_SAM2}sam2.1_hiera_small.pt", licence="Apache-2.0",
        sha256="6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38", note="",
    ),
    ModelEntry(
        name="sam2.1-base-plus", kind="sam", url=f"{_SAM2}sam2.1_hiera_base_plus.pt", licence="Apache-2.0",
        sha256="a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5", note="",
    ),
    ModelEntry(
        name="sam2.1-large", kind="sam", url=f"{_SAM2}sam2.1_hiera_large.pt", licence="Apache-2.0", note="needs a GPU",
    ),
    ModelEntry(
        name="sam-vit-b", kind="sam", url=f"{_SAM1}sam_vit_b_01ec64.pth", licence="Apache-2.0",
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", note="",
    ),
    ModelEntry(
        name="sam-vit-l", kind="sam", url=f"{_SAM1}sam_vit_l_0b3195.pth", licence="Apache-2.0",
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622", note="",
    ),
    ModelEntry(
        name="sam-vit-h", kind="sam", url=f"{_SAM1}sam_vit_h_4b8939.pth", licence="Apache-2.0",
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e", note="needs a GPU",
    ),
    ModelEntry(name="sam3", kind="sam3", hub_id="facebook/sam3", licence="SAM licence, gated", note="words, exemplars"),
    ModelEntry(
        name="dinov2-small", kind="backbone", hub_id="facebook/dinov2-small", licence="Apache-2.0",
        note="features for few-shot",
    ),
    ModelEntry(
        name="dinov3-sat", kind="backbone", hub_id="facebook/dinov3-vitl16-pretrain-sat493m",
        licence="DINOv3 licence, gated", note="features learned from satellite images",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedModel:
    """What `check` found of a model in the store."""

    name: str
    state: str
    detail: str


def entry(name: str) -> ModelEntry:
    """Return a catalog entry.

    Raises:
        NotFoundError: there is none of this name.
    """
    for item in CATALOG:
        if item.name == name:
            return item
    raise NotFoundError(f"no model {name!r} in the catalog; it has {', '.join(item.name for item in CATALOG)}")


def prefix(name: str) -> str:
    """Return where in the store the files of a model lie."""
    if not name or not all(c.isalnum() or c in "-_." for c in name) or name.startswith("."):
        raise InputError(f"model name {name!r} may hold letters, digits, '-', '_' and '.' only")
    return f"weights/{name}"


def record(store: Store, name: str) -> dict[str, Any] | None:
    """Return what was noted at `pull`: {"files": {name: {"sha256", "bytes"}}, "source"}; None if absent."""
    try:
        found = store.get_json(f"{prefix(name)}/model.json")
    except NotFoundError:
        return None
    return dict(found)


def present(store: Store) -> list[str]:
    """Return the names of all models in the store, those outside the catalog too."""
    keys = store.list("weights")
    return sorted({key.split("/")[1] for key in keys if key.endswith("/model.json") and key.count("/") == 2})


def pull(
    store: Store,
    name: str,
    cache_dir: Path,
    *,
    source: str = "",
    sha256: str = "",
    report: Report | None = None,
) -> dict[str, Any]:
    """Bring a model into the store; what is there already and right is left alone.

    Args:
        store: Of this installation.
        name: Of the catalog, or a new name when `source` is given.
        cache_dir: Local folder for downloads; one that was cut short goes on where it stopped.
        source: Instead of the catalog's: an http(s) address, a local file or folder, or "hub:owner/name".
        sha256: Expected of a single file, instead of the catalog's.
        report: Called with bytes done and in all.

    Raises:
        NotFoundError: no such model or file.
        ModelError: the file is not the one expected.
        AdapterError: the address does not answer.
    """
    known = next((item for item in CATALOG if item.name == name), None)
    if known is None and not source:
        entry(name)
    source = source or (known.url if known else "") or f"hub:{known.hub_id if known else ''}"
    expected = sha256 or (known.sha256 if known and source == known.url else "")
    old = record(store, name)
    if old is not None and old.get("source") == source and check(store, name).state == "right":
        return old
    folder = cache_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    files = list(_fetch(source, folder, report))
    noted: dict[str, Any] = {"source": source, "files": {}}
    for path, relative in files:
        found = sha256_of(path)
        if expected and len(files) == 1 and found != expected:
            path.unlink(missing_ok=True) if path.is_relative_to(folder) else None
            raise ModelError(
                f"{path.name} has sha256 {found}, not {expected}: the file is damaged or another one; pull again"
            )
        store.put_file(f"{prefix(name)}/{relative}", path)
        noted["files"][relative] = {"sha256": found, "bytes": path.stat().st_size}
    store.put_json(f"{prefix(name)}/model.json", noted)
    shutil.rmtree(folder, ignore_errors=True)
    return noted


def _fetch(source: str, folder: Path, report: Report | None) -> Iterator[tuple[Path, str]]:
    """Yield local files of a source with their names relative to the model."""
    if source.startswith(("http://", "https://")):
        name = source.split("?", 1)[0].rsplit("/", 1)[-1] or "weights"
        yield download(source, folder / name, report), name
    elif source.startswith("hub:"):
        root = _from_hub(source.removeprefix("hub:"), folder)
        yield from _all_files(root)
    else:
        path = Path(source).expanduser()
        if path.is_dir():
            yield from _all_files(path)
        elif path.is_file():
            yield path, path.name
        else:
            raise NotFoundError(
                f"{source!r} is neither an address, a hub id (hub:owner/name) nor a file or folder here"
            )


def _all_files(root: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and ".cache" not in path.parts:
            yield path, path.relative_to(root).as_posix()


def _from_hub(hub_id: str, folder: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_dir=folder / "snapshot"))
    except RepositoryNotFoundError as error:
        raise NotFoundError(f"the hub has no {hub_id!r}, or it is gated and no token is set (HF_TOKEN)") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise AdapterError(f"{hub_id!r} can't be fetched from the hub: {str(error)[:200]}", retryable=True) from error


def download(url: str, target: Path, report: Report | None = None) -> Path:
    """Fetch a file; a partial one is gone on with where the server allows that.

    Raises:
        AdapterError: no answer, or an answer that is no file.
    """
    import httpx

    partial = target.with_name(target.name + ".part")
    done = partial.stat().st_size if partial.is_file() else 0
    # Packed on the way, the lengths would not be those of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=60.0) as answer:
            if done and answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                if answer.headers.get("Content-Range", "").endswith(f"/{done}"):
                    os.replace(partial, target)
                    return target
                # What lies here is no beginning of the file as it is now: from the start, at most once.
                partial.unlink()
                return download(url, target, report)
            answer.raise_for_status()
            if answer.status_code != httpx.codes.PARTIAL_CONTENT:
                done = 0
            length = answer.headers.get("Content-Length")
            total = done + int(length) if length else None
            with partial.open("ab" if done else "wb") as out:
                # As they come: blocks of a fixed size would lose the last, unfilled one when the connection breaks.
                for block in answer.iter_raw():
                    out.write(block)
                    done += len(block)
                    if report:
                        report(done, total)
    except httpx.HTTPError as error:
        raise AdapterError(
            f"{url} can't be fetched ({type(error).__name__}: {str(error)[:150]}); "
            "offline, give a local file: `geolabel models pull NAME --from FILE`",
            retryable=True,
        ) from error
    if total is not None and done < total:
        raise AdapterError(f"{url} ended after {done} of {total} bytes; pull again to go on", retryable=True)
    os.replace(partial, target)
    return target


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


def check(store: Store, name: str) -> CheckedModel:
    """Compare the files of a model in the store with what was noted and, where known, what the catalog expects."""
    noted = record(store, name)
    if noted is None:
        return CheckedModel(name=name, state="absent", detail=f"`geolabel models pull {name}` fetches it")
    known = next((item for item in CATALOG if item.name == name), None)
    for relative, facts in noted["files"].items():
        try:
            with store.local_path(f"{prefix(name)}/{relative}") as path:
                found = sha256_of(path)
        except NotFoundError:
            return CheckedModel(name=name, state="damaged", detail=f"{relative} is gone; pull it again")
        if found != facts["sha256"]:
            return CheckedModel(name=name, state="damaged", detail=f"{relative} has sha256 {found}; pull it again")
        if known and known.sha256 and relative == known.file_name and found != known.sha256:
            return CheckedModel(
                name=name, state="other", detail=f"{relative} is not the published file ({found[:12]}…)"
            )
    return CheckedModel(name=name, state="right", detail=f"{len(noted['files'])} files from {noted['source']}")


def resolve(store: Store, name_or_path: str, cache_dir: Path) -> Path:
    """Return a local file (or the folder of a repository) for a model: a path, or a name pulled before.

    Raises:
        ModelError: neither a file nor a model in the store.
    """
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    noted = record(store, name_or_path) if "/" not in name_or_path else None
    if noted is None:
        raise ModelError(
            f"no model {name_or_path!r}: no such file, and the store has {', '.join(present(store)) or 'no models'}; "
            f"`geolabel models pull {name_or_path}` fetches one of the catalog"
        )
    folder = store.folder(prefix(name_or_path)) or _local_copy(store, name_or_path, noted, cache_dir)
    names = list(noted["files"])
    return folder / names[0] if len(names) == 1 else folder


def _local_copy(store: Store, name: str, noted: dict[str, Any], cache_dir: Path) -> Path:
    """Keep a copy of a model from a bucket on this machine."""
    folder = cache_dir / "local" / name
    for relative, facts in noted["files"].items():
        target = folder / relative
        if target.is_file() and target.stat().st_size == facts["bytes"]:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with store.local_path(f"{prefix(name)}/{relative}") as path:
            shutil.copyfile(path, target)
    return folder
