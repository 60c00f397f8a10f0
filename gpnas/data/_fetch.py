"""Downloads of raw files, with a limit on the time without progress.

Both kinds of downloads write into a folder, whose growth is monitored. Time without growth counts
against one `Patience`, shared by all sources. A machine without network thus fails within seconds,
while a slow connection may take longer.
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

# Fewer bytes than this do not count as progress, so that a trickling server times out.
_PROGRESS_BYTES = 128 << 10
_LONGEST_SECONDS = 1800.0
SOURCE_SECONDS = 10.0
_LARGEST_BYTES = 512 << 20
_POLL_SECONDS = 0.05


@dataclasses.dataclass
class Patience:
    """Seconds left for waiting without progress, shared by all sources."""

    seconds: float = 25.0


class FetchError(Exception):
    """Reason why a source failed, in one line; never raised outside `gpnas.data`."""


def watch(
    done: Callable[[], bool], received: Callable[[], int], patience: Patience, what: str
) -> None:
    """Waits until `done`, as long as bytes arrive.

    Args:
      done: Whether the download has finished.
      received: Number of bytes received.
      patience: Reduced by the time without progress.
      what: Name of the source, for the message.

    Raises:
      FetchError: After 10 s without progress, when patience is used up, or after half an hour.
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
    """Downloads a Debian package and unpacks it below `folder`; needs no root and installs nothing.

    Args:
      package: Name of the package.
      folder: An empty folder.
      patience: See `watch`.

    Returns:
      The root of the unpacked package.

    Raises:
      FetchError: If apt-get or dpkg is missing or fails, or if nothing arrives.
    """
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise FetchError(f"no {tool} on this machine")
    timeouts = [f"Acquire::{scheme}::Timeout=8" for scheme in ("http", "https")]
    common = ["Acquire::Retries=0", *timeouts]
    try:
        _apt_get(common, ["download", package], folder, patience)
    except FetchError:
        # Package lists of the machine may be missing or outdated: fetch new ones into our folder.
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        here = folder.absolute()
        common += [f"Dir::State::Lists={here}/lists", f"Dir::Cache={here}/cache"]
        # The folder may be unreadable for apt's own user.
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
    """Runs apt-get with local options, as the user of this process."""
    given = [part for option in options for part in ("-o", option)]
    _command(["apt-get", "-qq", *given, *arguments], folder, patience)


def _command(command: Sequence[str], folder: Path, patience: Patience) -> None:
    """Runs a command in a folder and monitors its growth; kills the command if it stops growing."""
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
    """Downloads files one after another.

    Args:
      address: Address without the file names.
      names: File names, remote and local.
      folder: Target folder.
      patience: See `watch`.

    Raises:
      FetchError: If the server is unreachable, refuses the request, or stops sending.
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

    # A daemon thread, since a host name lookup cannot be interrupted.
    thread = threading.Thread(target=work, daemon=True, name="gpnas-download")
    thread.start()
    try:
        watch(lambda: not thread.is_alive(), lambda: _size(folder), patience, address)
    finally:
        stop.set()
    if errors:
        raise FetchError(errors[0])


def _download(url: str, path: Path, stop: threading.Event) -> None:
    """Copies the content of an address to a file until `stop` is set."""
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
    """Returns the bytes in the files below a folder; files may vanish meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total
