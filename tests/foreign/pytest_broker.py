"""A pytest plugin, loaded into the foreign suites: runs the part of them that was asked for, points suites that would
start RabbitMQ in a container of their own at the broker under test, and writes each test's outcome as one line of JSON
at once, so that a suite that hangs or crashes still accounts for what it did. It does not know which broker it is."""

from __future__ import annotations

import gc
import importlib
import json
import os
import tracemalloc
from urllib.parse import urlsplit

import pytest
import selection

ORDER = json.loads(os.environ["FOREIGN_ORDER"])
RANK = {"passed": 0, "skipped": 1, "failed": 2}


class NoTrace:
    """A snapshot of memory in which nothing is found."""

    def filter_traces(self, _):
        return self

    def compare_to(self, *_, **__):
        return []


# aiormq and aio-pika look for leaks in the client after each test, which takes two thirds of their time and says nothing
# about a broker.
tracemalloc.start = tracemalloc.clear_traces = lambda *_: None
tracemalloc.take_snapshot = NoTrace


def pytest_load_initial_conftests():
    """Before a suite's conftest imports its container client, that client becomes one that hands out our broker."""
    try:
        client = importlib.import_module("tests.docker_client")
    except ImportError:
        return  # a suite that takes an address from the environment
    client.check_docker_available = lambda: None
    client.DockerClient = Broker


class Broker:
    """Stands where a suite expects its client of a container engine."""

    def __init__(self, *_):
        container_info = importlib.import_module("tests.docker_client").ContainerInfo
        # Port 1: nobody listens for TLS. The tests that need it are left out.
        ports = {"5672/tcp": urlsplit(ORDER["url"]).port, "5671/tcp": 1}
        self.info = container_info(id="broker", ports=ports, host="127.0.0.1")

    def run(self, *_, **__):
        return self.info

    def kill(self, _):
        pass

    def remove(self, _):
        pass


@pytest.fixture(scope="session")
def rabbitmq_container():
    """aiormq's source distribution lacks the file that defines this and the next one."""
    return Broker().info


@pytest.fixture(scope="session")
def amqp_direct_url():
    return None  # see below


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef, request):
    """Where a suite asks for the broker's address it gets ours, which names a virtual host, and not its own."""
    if fixturedef.argname != "amqp_direct_url":
        return None
    from yarl import URL

    url = URL(ORDER["url"])
    fixturedef.cached_result = (url, fixturedef.cache_key(request), None)
    return url


def pytest_collection_modifyitems(config, items):
    kept = []
    for item in items:
        if selection.left_out(ORDER["suite"], item.nodeid):
            write_down(item.nodeid, "left out", "")
        else:
            kept.append(item)
    if ORDER["only"] is not None:
        wanted = set(ORDER["only"])
        kept = [item for item in kept if item.nodeid in wanted]
    chosen = kept[ORDER["shard"] :: ORDER["shards"]]
    for item in chosen:
        write_down(item.nodeid, "not reached", "the time was up before")  # a later line overrules this one
    chosen_ids = set(map(id, chosen))
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in chosen_ids])
    items[:] = chosen


def pytest_collection_finish():
    """aiormq and aio-pika also collect garbage after each test, which costs as much as the rest of it while that
    walks over pytest and all that was imported; those are there to stay."""
    gc.collect()
    gc.freeze()


def pytest_runtest_logstart(nodeid):
    write_down(nodeid, "missing", "it never ended")


outcomes: dict[str, tuple[str, str]] = {}


def pytest_runtest_logreport(report):
    """A test is as good as the worst of its set-up, call and tear-down."""
    worst = outcomes.get(report.nodeid, ("passed", ""))
    if RANK[report.outcome] >= RANK[worst[0]]:
        lines = report.longreprtext.splitlines() if report.failed else []
        errors = [line[1:].strip() for line in lines if line.startswith("E ")]
        worst = (report.outcome, (errors or lines[-1:] or [""])[-1])
    outcomes[report.nodeid] = worst
    if report.when == "teardown":
        write_down(report.nodeid, *worst)


def write_down(test, outcome, detail):
    with open(ORDER["results"], "a", encoding="utf-8") as results:
        results.write(json.dumps({"test": test, "outcome": outcome, "detail": detail[:300]}) + "\n")
