"""Getting raw files from elsewhere, never waiting long for nothing.

Both ways write into a folder while the caller watches it grow. Waiting without growth is charged to
one `Patience` for the whole search, so a machine without network learns it in seconds, while a slow
line that does deliver may take its time.
"""

import dataclasses
import http.client
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

# Fewer bytes than this do not count as progress (a server that trickles is one that hangs).
_PROGRESS_BYTES = 128 << 10
_LONGEST_SECONDS = 1800.0
SOURCE_SECONDS = 10.0
_LARGEST_BYTES = 512 << 20
_POLL_SECONDS = 0.05


@dataclasses.dataclass
class Patience:
    """Seconds that may still be spent waiting without progress, over all sources together."""

    seconds: float = 25.0


class FetchError(Exception):
    """Why a source gave nothing, in one line. Never leaves `gpnas.data`."""


def watch(
    done: Callable[[], bool], received: Callable[[], int], patience: Patience, what: str
) -> None:
    """Waits until `done`, as long as bytes keep coming.

    Args:
      done: Whether it is over.
      received: Bytes so far.
      patience: Charged with every wait without progress.
      what: The source, for the message.

    Raises:
      FetchError: Nothing came for 10 s, or patience is used up, or half an hour is over.
    """
    start = mark = time.monotonic()
    seen = 0
    limit = min(SOURCE_SECONDS, patience.seconds)
    while not done():
        now = time.monotonic()
        if received() - seen >= _PROGRESS_BYTES:
            seen, mark = received(), now
        if now - mark > limit or now - start > _LONGEST_SECONDS:
            patience.seconds -= now - mark
            raise FetchError(f"{what}: nothing arrived within {now - mark:.0f} s")
        time.sleep(_POLL_SECONDS)
    patience.seconds -= time.monotonic() - mark


def debian(package: str, folder: Path, patience: Patience) -> Path:
    """Downloads a Debian package and unpacks it below `folder`; needs no root, installs nothing.

    Args:
      package: Its name.
      folder: An empty folder.
      patience: See `watch`.

    Returns:
      The root of the unpacked package.

    Raises:
      FetchError: There is no apt-get or dpkg, or they failed, or nothing arrived.
    """
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise FetchError(f"no {tool} on this machine")
    timeouts = [f"Acquire::{scheme}::Timeout=8" for scheme in ("http", "https")]
    common = ["Acquire::Retries=0", *timeouts]
    try:
        _apt_get(common, ["download", package], folder, patience)
    except FetchError:
        # A machine's lists of packages may be missing or out of date: fetch some into our folder.
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        here = folder.absolute()
        common += [f"Dir::State::Lists={here}/lists", f"Dir::Cache={here}/cache"]
        # Its folder need not be readable for apt's own user.
        common += ["Acquire::Languages=none", "APT::Sandbox::User=root"]
        _apt_get(common, ["update"], folder, patience)
        _apt_get(common, ["download", package], folder, patience)
    archives = list(folder.glob("*.deb"))
    if len(archives) != 1:
        raise FetchError(f"apt-get download {package} left {len(archives)} packages")
    _command(["dpkg", "-x", archives[0].name, "root"], folder, patience)
    return folder / "root"


def _apt_get(
    options: Sequence[str], arguments: Sequence[str], folder: Path, patience: Patience
) -> None:
    """Runs apt-get with options of its own, as the user of this process."""
    given = [part for option in options for part in ("-o", option)]
    _command(["apt-get", "-qq", *given, *arguments], folder, patience)


def _command(command: Sequence[str], folder: Path, patience: Patience) -> None:
    """Runs a command in a folder and watches that grow; ends it if it does not."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        watch(lambda: process.poll() is not None, lambda: _size(folder), patience, command[0])
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        errors = [line for line in lines if line.startswith("E:")] or lines or ["no message"]
        raise FetchError(f"{command[0]}: {errors[-1].strip()}")


def official(address: str, names: Sequence[str], folder: Path, patience: Patience) -> None:
    """Downloads files one after the other.

    Args:
      address: The address up to the names.
      names: File names, there and here.
      folder: Where they go.
      patience: See `watch`.

    Raises:
      FetchError: The server is not reached, refuses, or stops sending.
    """
    errors: list[str] = []
    stop = threading.Event()

    def work() -> None:
        for name in names:
            try:
                _download(address + name, folder / name, stop)
            except (OSError, http.client.HTTPException, ValueError) as error:
                errors.append(f"{address}{name}: {error}")
                return

    # A daemon thread: looking up a host name cannot be interrupted, only left behind.
    thread = threading.Thread(target=work, daemon=True, name="gpnas-download")
    thread.start()
    try:
        watch(lambda: not thread.is_alive(), lambda: _size(folder), patience, address)
    finally:
        stop.set()
    if errors:
        raise FetchError(errors[0])


def _download(url: str, path: Path, stop: threading.Event) -> None:
    """Copies an address to a file, until asked to stop."""
    with urllib.request.urlopen(url, timeout=8) as response, path.open("wb") as file:
        received = 0
        while chunk := response.read(1 << 16):
            received += len(chunk)
            if stop.is_set() or received > _LARGEST_BYTES:
                raise ValueError("stopped")
            file.write(chunk)
        expected = response.headers.get("Content-Length")
        if expected is not None and int(expected) != received:
            raise ValueError(f"{received} of {expected} bytes arrived")


def _size(folder: Path) -> int:
    """Bytes in the files below a folder, some of which may vanish meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total
