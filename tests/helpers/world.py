"""Several processes that know of each other as torchrun's do: Python code comes in, what became of each goes out.

They are forked from one process in which torch and the training loop are imported already: a process then costs
milliseconds instead of seconds.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_SECONDS = 120.0  # a machine may be busy; this only keeps hanging processes from hanging the tests
_ROOT = Path(__file__).resolve().parents[2]

_SERVER = """
import json, os, sys, traceback
import fewframes.training.loop, tests.helpers.tiny

def child(order, rank):
    sys.stderr = os.fdopen(os.open(order["errors"][rank], os.O_WRONLY | os.O_CREAT), "w")
    os.dup2(sys.stderr.fileno(), 2)
    os.dup2(2, 1)
    if len(order["errors"]) > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), **order["environment"]}
    sys.argv = ["-c", *order["arguments"]]
    status = 1
    try:
        exec(compile(order["code"], "code", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as error:
        status = error.code
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)

for line in sys.stdin:
    order = json.loads(line)
    pids = []
    for rank in range(len(order["errors"])):
        pids.append(os.fork() or child(order, rank))
    print(json.dumps(pids), flush=True)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: its exit status; minus the signal's number if one killed it.
        errors: what it said on standard error.
    """

    status: int
    errors: str


def run_world(size: int, code: str, *arguments: object, then: Callable[[list[int]], bool] | None = None) -> list[Ended]:
    """Run Python code in so many processes at once, and wait for all of them.

    Args:
        size: how many; one process is started without any of torchrun's variables.
        code: what each runs.
        arguments: as `sys.argv[1:]`.
        then: called again and again with the processes' numbers while they run, until it has returned True once.
    """
    server, deadline = _server(), time.monotonic() + _SECONDS
    assert server.stdin is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with tempfile.TemporaryDirectory() as folder:
        errors = [Path(folder) / str(rank) for rank in range(size)]
        order = {
            "code": code,
            "arguments": [str(each) for each in arguments],
            "errors": [str(path) for path in errors],
            "environment": {name: str(value) for name, value in world.items()},
        }
        server.stdin.write(f"{json.dumps(order)}\n".encode())
        pids: list[int] = []
        try:
            pids = next(answer for answer in _answers(server, deadline) if answer is not None)
            for statuses in _answers(server, deadline):
                if then is not None and then(pids):
                    then = None
                if statuses is not None:
                    break
        except BaseException:
            _server.cache_clear()  # whatever still runs belongs to nobody
            server.kill()
            for pid in pids:
                subprocess.run(["kill", "-9", str(pid)], stderr=subprocess.DEVNULL, check=False)
            raise
        told = [path.read_text() if path.exists() else "" for path in errors]
    assert then is None, ("they ended before it came to that", told)
    return [Ended(status, text) for status, text in zip(statuses, told, strict=True)]


def _answers(server: subprocess.Popen[bytes], deadline: float) -> Iterator[Any]:
    """The server's next line as soon as it is there, and None every now and then until it is."""
    assert server.stdout is not None
    said = b""
    while not said.endswith(b"\n"):
        assert time.monotonic() < deadline, "the processes do not end"
        if select.select([server.stdout], [], [], 0.02)[0]:
            said += server.stdout.read(1)
            assert said, "the server is gone"
        else:
            yield None
    yield json.loads(said)


@cache
def _server() -> subprocess.Popen[bytes]:
    server = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _SERVER],
        cwd=_ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    atexit.register(server.kill)
    return server
