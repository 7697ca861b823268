"""Processes that end with the runner, and the lock that keeps a second runner away while they don't."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".lock"
# a killed runner's children may need a moment to end
_PATIENCE = 10.0
_GRACE = 5.0
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


@contextmanager
def only_runner(folder: Path, patience: float = _PATIENCE) -> Iterator[int]:
    """Hold the lock of a folder; the system releases it when the runner and all its children have ended.

    Args:
        folder: of a list's results; made if it is missing.
        patience: seconds to wait for the lock.

    Yields:
        The lock's file descriptor, for the children to inherit.

    Raises:
        BlockingIOError: another runner, or a training that it left behind, works in the folder.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / _LOCK, "a+", encoding="utf-8") as file:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    file.seek(0)
                    raise BlockingIOError(
                        f"process {file.read().strip() or 'unknown'}, or a training that it left behind, is at work in "
                        f"{folder}: wait for it or end it"
                    ) from None
                time.sleep(0.2)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()


def start(words: Sequence[str], cwd: Path, log: Path, threads: int, lock: int) -> subprocess.Popen[bytes]:
    """Start a Python process of its own group that is killed when this one dies (Linux; elsewhere the lock stays).

    Args:
        words: arguments of `python`.
        cwd: its working directory.
        log: file that its output is appended to.
        threads: number of threads it may use.
        lock: file descriptor that it keeps open.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock],
            preexec_fn=_die_with_parent,  # of the thread that starts it: the runner has one only
        )


def stop(processes: Sequence[subprocess.Popen[bytes]], grace: float = _GRACE) -> None:
    """End processes and their groups: ask, and after some seconds force.

    Args:
        processes: from `start`.
        grace: seconds.
    """
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    end = time.monotonic() + grace
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
