"""Writes the page of results. It does not know how they came about."""

from __future__ import annotations

import selection
from verdict import LEFT_OUT, PASSED, SKIPPED, Suite

HEAD = """# Foreign clients

The integration tests of other people's AMQP clients, run against our broker and against RabbitMQ {version}, in one run.
A test that passes there must pass here; the exceptions are below, each with its reason, and come from
`tests/foreign/exceptions.toml`. An exception that is no longer needed is an error as well.

Made by `tests/foreign/run --page docs/foreign-clients.md`, which downloads the suites; do not edit.

| suite | version | tests | left out | skipped | passed on RabbitMQ | passed on ours | fail on RabbitMQ | exceptions |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
FOOT = """
*Left out*: never run, reason below. *Skipped*: the suite itself skips it. *Passed*: in every attempt; a test that fails is
tried twice more on both brokers, to tell an unsteady test from a failing one. *Fail on RabbitMQ*: never pass there, so that
nothing is asked of ours. *Exceptions*: pass on RabbitMQ and not, or not always, on ours.
"""


def text(suites: list[Suite], version: str) -> str:
    """The whole page, in Markdown."""
    parts = [HEAD.format(version=version), *map(row, suites), FOOT]
    parts += section("Left out", reasons(suites, "left-out"))
    parts += section("Exceptions", reasons(suites, "fails"))
    parts += section("Unsteady on ours", reasons(suites, "unsteady"))
    parts += section("Fail on RabbitMQ", tests(suites, Suite.failing_there))
    parts += section("Unsteady on RabbitMQ in this run", tests(suites, Suite.unsteady))
    parts += section("Not as it should be", [f"* {error}\n" for suite in suites for error in suite.errors()])
    return "".join(parts)


def row(suite: Suite) -> str:
    states = suite.states().values()
    rabbitmq, ours = [there for there, _ in states], [here for _, here in states]
    cells = [len(states), rabbitmq.count(LEFT_OUT), rabbitmq.count(SKIPPED), rabbitmq.count(PASSED), ours.count(PASSED)]
    cells += [len(suite.failing_there()), len(suite.excused())]
    return f"| {suite.name} | {suite.version} | {' | '.join(map(str, cells))} |\n"


def section(title: str, lines: list[str]) -> list[str]:
    return [f"\n## {title}\n\n", *lines] if lines else []


def reasons(suites: list[Suite], kind: str) -> list[str]:
    entries = [entry for suite in suites for entry in selection.entries(suite.name, kind)]
    return [f"* {entry.suite}: {', '.join(f'`{test}`' for test in entry.tests)}: {entry.reason}\n" for entry in entries]


def tests(suites: list[Suite], which) -> list[str]:
    return [f"* {suite.name}: `{test}`\n" for suite in suites for test in which(suite)]
