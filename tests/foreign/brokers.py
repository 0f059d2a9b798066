"""Starts the two brokers that are compared, each on a free port of the loopback interface, and ends them. It does not
know who connects to them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

IMAGE = "rabbitmq:4-management"
#: From start to the first answer in AMQP. RabbitMQ takes 10 s on two free cores; the machine may be busy building.
START_SECONDS = 120
#: From SIGTERM to the end of our broker; it drains connections for half a second.
STOP_SECONDS = 10


class NoBroker(Exception):
    """A broker could not be started."""


@contextlib.contextmanager
def ours(binary: Path, log: Path):
    """Our broker, with a data directory of its own. Yields its port."""
    with tempfile.TemporaryDirectory(prefix="foreign-") as data, log.open("w") as out:
        command = [binary, "--listen", "127.0.0.1:0", "--listen-amqp", "127.0.0.1:0", "--data", data]
        environment = {**os.environ, "RUST_LOG": "info"}
        broker = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            yield until(lambda: announced_port(broker, log), f"our broker (log: {log})")
        finally:
            broker.terminate()
            try:
                broker.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                broker.kill()
                broker.wait()


def announced_port(broker: subprocess.Popen, log: Path) -> int | None:
    if broker.poll() is not None:
        raise NoBroker(f"our broker ended with {broker.returncode}; log: {log}")
    found = re.search(r"amqp://127\.0\.0\.1:(\d+)", log.read_text())
    return int(found[1]) if found and answers(int(found[1])) else None


@contextlib.contextmanager
def rabbitmq(vhosts: list[str]):
    """RabbitMQ in a container, with virtual hosts besides `/`. Yields its port and its version."""
    container = docker("run", "--detach", "--rm", "--publish=127.0.0.1::5672", "--publish=127.0.0.1::15672", IMAGE)
    try:
        port, management = (int(docker("port", container, f"{p}/tcp").rsplit(":", 1)[1]) for p in (5672, 15672))
        until(lambda: answers(port), "RabbitMQ")
        overview = until(lambda: managed(management, "GET", "overview"), "RabbitMQ's management")
        for vhost in vhosts:
            managed(management, "PUT", f"vhosts/{vhost}")  # whoever makes it may use it
        yield port, json.loads(overview)["rabbitmq_version"]
    finally:
        docker("rm", "--force", "--volumes", container)


def managed(port: int, method: str, path: str) -> bytes | None:
    """The answer of RabbitMQ's management; None while it is not there yet."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/{path}", method=method)
    request.add_header("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode())
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()
    except urllib.error.HTTPError as refusal:
        raise NoBroker(f"{method} {path}: {refusal}") from refusal
    except OSError:
        return None


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise NoBroker(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def answers(port: int) -> bool:
    """Whether something speaks AMQP there: it answers the protocol header with `connection.start`."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as peer:
        peer.sendall(b"AMQP\x00\x00\x09\x01")
        return peer.recv(1) == b"\x01"
    return False


def until(condition, what: str):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.2)
    raise NoBroker(f"{what} was not there after {START_SECONDS} s")


def build(root: Path) -> Path:
    """Builds our broker as the gate does, and says where the program is."""
    command = ["cargo", "build", "--locked", "-p", "crosstalk-broker", "--bin", "broker", "--message-format=json"]
    built = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout
    messages = map(json.loads, built.splitlines())
    return Path(next(m["executable"] for m in messages if m.get("executable")))
