"""Downloads of published weight files into a cache, resumed where they broke off and checked.

A file is written as NAME.part and renamed when it is complete and its hash is right, so whatever
has its final name is whole. A part is continued only if there is a hash to check the result with.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tqdm import tqdm

_CHUNK = 1 << 20
_ATTEMPTS = 3  # connections per fetch; the second and third continue where the one before broke off
_TIMEOUT = 30.0  # seconds without an answer


class DownloadError(OSError):
    """A file could not be fetched; the message says where to put it by hand."""


def cache_dir() -> Path:
    """Folder of downloaded files: KMRCNN_CACHE, or "kmrcnn" in the user's cache of the platform."""
    if configured := os.environ.get("KMRCNN_CACHE"):
        return Path(configured).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "kmrcnn"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/kmrcnn"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kmrcnn"


def cached_path(url: str) -> Path:
    """Where `fetch` keeps a URL's file: cache_dir()/host/path, whether it is there or not."""
    parts = urllib.parse.urlsplit(url)
    names = [urllib.parse.unquote(name) for name in parts.path.split("/") if name]
    if parts.scheme not in ("http", "https") or not names or {".", ".."} & set(names):
        raise ValueError(f"`url` must be an http(s) address of a file. Received: {url!r}")
    return cache_dir().joinpath(
        *(re.sub(r"[^\w.+-]", "_", name) for name in [parts.netloc, *names])
    )


def fetch(
    url: str,
    sha256: str | None = None,
    size: int | None = None,
    *,
    md5: str | None = None,
    progress: bool = True,
) -> Path:
    """Local copy of a published file, downloaded if it is not in the cache.

    Args:
        url: http or https address.
        sha256: Hexadecimal digest the file must have, or its leading digits, as many as the
            publisher states.
        size: Bytes the file must have, if known.
        md5: The same as `sha256` for publishers who state an MD5.
        progress: Show a progress bar on stderr.

    Returns:
        Path of the file in `cache_dir()`.

    Raises:
        DownloadError: Offline, refused by the server, or broken off repeatedly. The part that
            came is kept for the next call where it can be continued.
        ValueError: The file has another size or hash. A download is deleted; a file that was in
            the cache before is left where it is.
    """
    checks = {"sha256": sha256, "md5": md5}
    checks = {name: digits.lower() for name, digits in checks.items() if digits}
    path = cached_path(url)
    if path.is_file():
        if wrong := _mismatch(path, checks, size):
            raise ValueError(
                f"{str(path)!r} is not the file published at {url}: {wrong}. "
                f"Delete it to download it again."
            )
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    resumed = bool(checks) and part.exists()
    _download(url, path, part, size, progress, resume=bool(checks))
    wrong = _mismatch(part, checks, size)
    if wrong and resumed:  # the part may have been of another version: once more, from the start
        part.unlink()
        _download(url, path, part, size, progress, resume=True)
        wrong = _mismatch(part, checks, size)
    if wrong:
        part.unlink()
        raise ValueError(f"What was downloaded from {url} is not the published file: {wrong}.")
    os.replace(part, path)
    return path


def _download(
    url: str, path: Path, part: Path, size: int | None, progress: bool, resume: bool
) -> None:
    """Completes `part`; DownloadError after `_ATTEMPTS` broken connections."""
    for _ in range(_ATTEMPTS):
        if not resume:
            part.unlink(missing_ok=True)
        try:
            if _continue_part(url, part, size, progress):
                return
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            if error.code < 500:
                break
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
    raise DownloadError(
        f"{url} could not be downloaded: {reason}. Try again later, or fetch the file by other "
        f"means and put it at {str(path)!r}."
    )


def _continue_part(url: str, part: Path, size: int | None, progress: bool) -> bool:
    """Appends to `part` what it lacks (or writes it anew); True if it is then complete."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "kmrcnn", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)  # http(s): see cached_path
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # Nothing after `have`: the part is complete, or longer than the file and useless.
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return True
        part.unlink()
        return _continue_part(url, part, size, progress)
    with response:
        start, total = _extent(response)
        if start not in (0, have):
            part.unlink()
            return False
        if size is not None and total not in (None, size):
            raise ValueError(f"{url} has {total} bytes instead of {size}.")
        with (
            part.open("r+b" if start else "wb") as file,
            tqdm(
                total=total,
                initial=start,
                desc=part.name.removesuffix(".part"),
                unit="B",
                unit_scale=True,
                disable=not progress,
            ) as bar,
        ):
            file.seek(start)  # the end of the part
            while chunk := response.read1(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            return total is None or file.tell() == total


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """First byte that comes and size of the whole; a server may send all despite a Range."""
    given = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status == 206 and given:
        return int(given[1]), int(given[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length else None


def _mismatch(path: Path, checks: dict[str, str], size: int | None) -> str | None:
    """What is wrong with a file, or None."""
    if size is not None and path.stat().st_size != size:
        return f"it has {path.stat().st_size} bytes instead of {size}"
    for name, expected in checks.items():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, name).hexdigest()
        if not digest.startswith(expected):
            return f"its {name} is {digest} instead of {expected}"
    return None
