"""Running the commands of set-up: named steps, elapsed times, a heartbeat, and failures in plain words."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

GIB = 2**30
HEARTBEAT_SECONDS = 15
# pattern in the log -> what to say; the first that matches counts
FAILURES = (
    (
        r'No space left on device|Errno 28',
        "The disk is full. Free some space, or put temporary files elsewhere with TMPDIR and pip's cache with "
        'PIP_CACHE_DIR.',
    ),
    (
        r'Temporary failure in name resolution|Name or service not known|Failed to establish a new connection|'
        r'Network is unreachable|Connection refused|ConnectTimeoutError|Cannot connect to proxy|ProxyError|'
        r'Read timed out|NewConnectionError|No route to host|Connection reset',
        'The package index could not be reached. Check the network and, behind a proxy, https_proxy; PIP_INDEX_URL '
        'names a mirror. Without a network, put the wheels into a folder and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER '
        '(docs/install.md, "Offline").',
    ),
    (
        r'CERTIFICATE_VERIFY_FAILED|SSLError',
        'The certificate of the package index is not trusted here. PIP_CERT names a file of certificates.',
    ),
    (
        r'No matching distribution found|Could not find a version that satisfies|ResolutionImpossible',
        'The package index has no fitting file for this Python and machine. Look at the index in use (PIP_INDEX_URL, '
        'PIP_NO_INDEX, `pip config list`); Linux on x86-64 with Python 3.11 is the tested machine.',
    ),
    (
        r'Killed signal terminated|cc1plus.*Killed|internal compiler error: Killed',
        'The compiler ran out of memory. Run again with MAX_JOBS=1: the finished objects are kept.',
    ),
    (r'Python\.h: No such file', 'The headers of Python are missing (Debian, Ubuntu: apt install python3-dev).'),
)


class SetupError(Exception):
    """A failure of set-up; the message says what to do."""


def say(text):
    """Print a line at once."""
    print(text, flush=True)


def explain_failure(log):
    """What a log of pip or of the compiler says in plain words, or an empty string."""
    return next((advice for pattern, advice in FAILURES if re.search(pattern, log)), '')


def tail(path, lines):
    """Last non-empty lines of a log; carriage returns count as line ends."""
    try:
        text = Path(path).read_bytes()[-20000:].decode(errors='replace')
    except FileNotFoundError:
        return []
    return [line.strip() for line in re.split(r'[\r\n]+', text) if line.strip()][-lines:]


def run(command, log, env=None, cwd=None, progress=None, keep_fds=()):
    """Run a command with its output in a log, and a line every few seconds that tells how far it is.

    Args:
        command (list[str]): The command.
        log (Path): The log; begun anew.
        env (dict, optional): Environment variables to set beside the inherited ones.
        cwd (Path, optional): Working directory.
        progress (callable, optional): Gives the text of a heartbeat; by default the last line of the log.
        keep_fds (tuple[int]): File descriptors that the command inherits.

    Raises:
        SetupError: If the command fails, with the end of the log and what it means.
    """
    start = beat = time.monotonic()
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'wb') as file:
        process = subprocess.Popen(
            [str(c) for c in command],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            pass_fds=keep_fds,
        )
        try:
            while process.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - beat >= HEARTBEAT_SECONDS:
                    beat = time.monotonic()
                    text = progress() if progress else (tail(log, 1) or ['working'])[0]
                    say(f'    {beat - start:4.0f} s  {text[:110]}')
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        text = Path(log).read_text(errors='replace')
        end = '\n'.join('    | ' + line for line in tail(log, 15))
        raise SetupError(
            f'{explain_failure(text) or "A command failed."}\n  command: {" ".join(map(str, command))}\n'
            f'  exit status {process.returncode}; whole log: {log}; its end:\n{end}'
        )


def check_disk(needs):
    """Check the free space of several folders before a step.

    Args:
        needs (list[tuple[Path, float, str]]): Folder, GiB, and what for. Needs on one file system add up.

    Raises:
        SetupError: If a file system has too little, with all figures.
    """
    devices = {}
    for folder, gib, purpose in needs:
        folder = Path(folder)
        while not folder.exists():
            folder = folder.parent
        devices.setdefault(folder.stat().st_dev, []).append((folder, gib, purpose))
    for rows in devices.values():
        free = shutil.disk_usage(rows[0][0]).free / GIB
        need = sum(gib for _, gib, _ in rows)
        if free < need:
            listing = '\n'.join(f'  {gib:.1f} GiB in {folder} for {purpose}' for folder, gib, purpose in rows)
            raise SetupError(
                f'Too little disk space: {free:.1f} GiB are free and {need:.1f} GiB are needed:\n{listing}\n'
                'Free some space, or move the clone, TMPDIR or PIP_CACHE_DIR to a larger disk.'
            )
