"""The program: prepares the suites and the brokers, runs everything, judges, writes the page. It does not know how a
suite is run, nor what counts as a failure."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import brokers
import page
import suites
import verdict

ROOT = Path(__file__).parents[2]
#: Further attempts at tests that did not pass. A test that fails one time in three shows itself three times in four.
ATTEMPTS = 2
#: Two for each processor: suites wait more than they compute, and the largest even run in parts.
JOBS = 2 * (os.cpu_count() or 1)
START = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - START:4.0f} s] {text}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/foreign/run",
        description="Runs other AMQP clients' integration tests against our broker and against RabbitMQ, and compares.",
        epilog="Needs cargo and a container engine that runs and has, or can get, the image " + brokers.IMAGE + ". "
        "Installs, with apt-get: python3 and python3-venv where there is no Python 3.11 with venv; golang-go and "
        f"{suites.Go.package} for Go's suite. Into the cache directory: a Python environment with pip, the suites' "
        "sources, lapin's tests as cargo builds them. Exit code: 0 when every test that passes on RabbitMQ passes on "
        "ours or is a needed entry in exceptions.toml, 1 when not, 2 when something could not be run.",
    )
    names = [suite.name for suite in suites.SUITES]
    parser.add_argument("suite", nargs="*", metavar="SUITE", help=f"only these; of: {', '.join(names)}")
    parser.add_argument("--broker", type=Path, help="our broker's program; built with cargo by default")
    parser.add_argument("--cache", type=Path, default=ROOT / "target" / "foreign", help="default: %(default)s")
    parser.add_argument("--page", type=Path, help="where to write the results as a page; nowhere by default")
    parser.add_argument("--jobs", type=int, default=JOBS, help="suites at the same time; default: %(default)s")
    chosen = parser.parse_args()
    if unknown := set(chosen.suite) - set(names):
        parser.error(f"no such suite: {', '.join(unknown)}")
    return chosen


def vhosts(suite) -> list[str]:
    """The virtual hosts that a suite gets on RabbitMQ, one for each of its parts; none: it uses `/`."""
    return [f"{suite.name}-{part}" for part in range(suite.shards)]


class Run:
    """Brokers that run, and what is run against them."""

    def __init__(self, chosen: argparse.Namespace, stack: contextlib.ExitStack):
        self.place = suites.Place(ROOT, chosen.cache.absolute())
        self.logs = self.place.cache / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.suites = [suite for suite in suites.SUITES if not chosen.suite or suite.name in chosen.suite]
        self.stack = stack
        self.pool = stack.enter_context(ThreadPoolExecutor(chosen.jobs))
        # The container first: RabbitMQ starts while the rest is built.
        self.rabbitmq = self.pool.submit(
            stack.enter_context, brokers.rabbitmq([name for suite in self.suites for name in vhosts(suite)])
        )
        self.binary = chosen.broker.absolute() if chosen.broker else brokers.build(ROOT)
        self.urls = {}

    def prepare(self, suite) -> None:
        """Gets a suite, and starts the brokers that it alone uses."""
        suite.prepare(self.place)
        names = vhosts(suite) or ["%2f"]
        rabbitmq, self.version = self.rabbitmq.result()
        self.urls["rabbitmq", suite.name] = [f"amqp://guest:guest@127.0.0.1:{rabbitmq}/{name}" for name in names]
        ours = [
            self.stack.enter_context(brokers.ours(self.binary, self.logs / f"broker-{suite.name}.{part}.log"))
            for part in range(len(names))
        ]
        self.urls["ours", suite.name] = [f"amqp://guest:guest@127.0.0.1:{port}/%2f" for port in ours]
        say(f"{suite.name} {suite.version} is ready")

    def end(self) -> None:
        """Ends what runs: nothing, unless the comparison itself is ended early."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in list(suites.running):
            suites.end(process)

    def attempt(self, results: dict[str, verdict.Suite], number: int) -> None:
        """Runs on both brokers what has not passed on both so far: at first everything, each suite as soon as it is
        there."""
        waiting = {}
        for suite in self.suites:
            if number == 0:
                self.prepare(suite)
                results[suite.name] = verdict.Suite(suite.name, suite.version)
            only = results[suite.name].suspects() if number else None
            if only != []:
                runs = (self.pool.submit(self.run, suite, broker, number, only) for broker in ("rabbitmq", "ours"))
                waiting[suite.name] = tuple(runs)
        for name, (rabbitmq, ours) in waiting.items():
            results[name].add(rabbitmq.result(), ours.result())

    def run(self, suite, broker: str, number: int, only: list[str] | None) -> dict[str, suites.Result]:
        start = time.monotonic()
        logs = self.logs / f"{suite.name}-{broker}-{number}"
        outcome = suite.run(self.urls[broker, suite.name], logs, only)
        passed = sum(result.outcome == "passed" for result in outcome.values())
        again = f", attempt {number + 1}" if number else ""
        say(f"{suite.name} on {broker}{again}: {passed} passed, in {time.monotonic() - start:.0f} s")
        return outcome


def compare(chosen: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        run = Run(chosen, stack)
        stack.callback(run.end)
        results: dict[str, verdict.Suite] = {}
        for number in range(1 + ATTEMPTS):
            run.attempt(results, number)
    judged = list(results.values())
    if chosen.page:
        chosen.page.parent.mkdir(parents=True, exist_ok=True)
        chosen.page.write_text(page.text(judged, run.version))
    print(page.HEAD[page.HEAD.index("|") :], *map(page.row, judged), sep="", end="")
    errors = [error for suite in judged for error in suite.errors()]
    for error in errors:
        print(error)
    for suite in judged:
        for test in suite.unsteady():
            print(f"{suite.name}: unsteady on RabbitMQ as well: {test}")
    say(f"done; logs: {run.logs}")
    return 1 if errors else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # an exception, so that brokers and containers end too
    try:
        sys.exit(compare(arguments()))
    except (brokers.NoBroker, subprocess.CalledProcessError, OSError, ValueError, json.JSONDecodeError) as error:
        say(f"could not be run: {error}")
        sys.exit(2)
