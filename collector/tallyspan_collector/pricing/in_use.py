"""Which release of the price data is in use: what is installed, or a later one in DATA_DIR/prices.

A release is a folder, and `current.json` names the one in use: a single rename puts a release in
use or takes it back, so that none is ever in use in part.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tallyspan_clickhouse.durable import make_folder
from tallyspan_collector.access.account import account
from tallyspan_collector.errors import PriceError
from tallyspan_collector.files.atomic import whole_file
from tallyspan_collector.pricing.bundled import PriceData, installed
from tallyspan_collector.pricing.release import PACKAGE, Release

_CURRENT = "current.json"
State = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Current:
    """The release in use; `version` empty: what is installed. `before` is the one before it.

    `is_held`: a rollback put it in use, and so an installed later version does not replace it.
    """

    version: str
    data_sha256: str = ""
    wheel_sha256: str = ""
    applied_at: str = ""
    applied_by: str = ""
    before: str = ""
    is_held: bool = False


def data_in_use(data_dir: Path | None) -> PriceData:
    """Return the prices in use. Raises `PriceError` if they cannot be read."""
    current = read(data_dir)
    if data_dir is None or not current.version:
        return installed()
    if not current.is_held and _key(current.version) < _key(version(PACKAGE)):
        return installed()  # the package was upgraded since
    path = _folder(data_dir, current.version) / "data.py"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PriceError(f"{path}: cannot be read: {error.strerror}; {_HELP}") from None
    if hashlib.sha256(content).hexdigest() != current.data_sha256:
        raise PriceError(f"{path}: was changed since it was applied; {_HELP}")
    return Release(current.version, content.decode(), current.wheel_sha256).data()


def read(data_dir: Path | None) -> Current:
    """Return what is in use. Raises `PriceError` if `current.json` cannot be read."""
    if data_dir is None:
        return Current("")
    path = data_dir / "prices" / _CURRENT
    try:
        return Current(**json.loads(path.read_text()))
    except FileNotFoundError:
        return Current("")
    except (OSError, ValueError, TypeError) as error:
        raise PriceError(f"{path}: cannot be read: {error}; {_HELP}") from None


def state(data_dir: Path | None) -> State | None:
    """Return a value that changes whenever another release is put in use."""
    try:
        status = (data_dir / "prices" / _CURRENT).stat() if data_dir else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino) if status else None


def put_in_use(data_dir: Path, release: Release) -> None:
    """Put the release in use. Raises `PriceError` if it cannot be written; then nothing changed."""
    content = release.text.encode()
    before = read(data_dir).version
    folder = _folder(data_dir, release.version)
    try:
        make_folder(folder)
        _write(folder / "data.py", content)
    except OSError as error:
        raise PriceError(f"{folder}: cannot be written: {error.strerror}") from None
    digest = hashlib.sha256(content).hexdigest()
    _use(data_dir, Current(release.version, digest, release.wheel_sha256, before=before))


def roll_back(data_dir: Path) -> Current:
    """Put the release before in use, and return it. Raises `PriceError` if there is none."""
    now = read(data_dir)
    if not now.version:
        raise PriceError(f"{data_dir}: no update to take back: what is installed is in use")
    if not now.before:
        back = Current("", before=now.version, is_held=True)
    else:
        path = _folder(data_dir, now.before) / "data.py"
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise PriceError(f"{path}: cannot be read: {error.strerror}") from None
        back = Current(now.before, digest, before="", is_held=True)
    _use(data_dir, back)
    return back


def is_newer(release: str, data_dir: Path) -> bool:
    """Whether the release is newer than what is in use."""
    in_use = data_in_use(data_dir).source.rpartition(" ")[2]
    return _key(release) > _key(in_use)


_HELP = "tallyspan prices rollback takes the update back"


def _use(data_dir: Path, current: Current) -> None:
    content = asdict(current) | {
        "applied_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "applied_by": account(),
    }
    path = data_dir / "prices" / _CURRENT
    try:
        make_folder(path.parent)
        _write(path, (json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise PriceError(f"{path}: cannot be written: {error.strerror}") from None


def _write(path: Path, content: bytes) -> None:
    with whole_file(path) as file:
        file.write(content)


def _folder(data_dir: Path, release: str) -> Path:
    return data_dir / "prices" / f"{PACKAGE}-{release}"


def _key(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))
