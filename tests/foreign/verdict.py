"""Judges one suite from what its tests did on both brokers and from the exceptions. It does not know how tests are
run."""

from __future__ import annotations

from dataclasses import dataclass, field

import selection
from suites import Result

#: How a test did over all attempts.
PASSED, SKIPPED, UNSTEADY, FAILED, LEFT_OUT = "passed", "skipped", "unsteady", "failed", "left out"


def state(attempts: list[Result]) -> str:
    """Passed, skipped and left out mean every time; a test that never ended has failed. Attempts that did not reach it
    say nothing."""
    outcomes = {attempt.outcome for attempt in attempts} - {"not reached"} or {"missing"}
    if len(outcomes) == 1 and (only := outcomes.pop()) in (PASSED, SKIPPED, LEFT_OUT):
        return only
    return UNSTEADY if PASSED in outcomes else FAILED


@dataclass
class Suite:
    """What the tests of one suite did, attempt by attempt, and what follows from it."""

    name: str
    version: str
    rabbitmq: dict[str, list[Result]] = field(default_factory=dict)
    ours: dict[str, list[Result]] = field(default_factory=dict)

    def add(self, rabbitmq: dict[str, Result], ours: dict[str, Result]) -> None:
        """One more attempt at some tests."""
        for attempts, results in ((self.rabbitmq, rabbitmq), (self.ours, ours)):
            for test, result in results.items():
                attempts.setdefault(test, []).append(result)

    def states(self) -> dict[str, tuple[str, str]]:
        """For each test that either broker saw: its state on RabbitMQ and on ours."""
        tests = sorted(self.rabbitmq.keys() | self.ours.keys())
        return {test: (state(self.rabbitmq.get(test, [])), state(self.ours.get(test, []))) for test in tests}

    def suspects(self) -> list[str]:
        """Tests to try again: all that did not pass, except those that are known to fail on ours alone."""
        known = self.entries("fails")
        expected = (PASSED, FAILED)
        return [
            test
            for test, states in self.states().items()
            if {FAILED, UNSTEADY} & set(states)
            and not (states == expected and any(entry.names(test) for entry in known))
        ]

    def entries(self, kind: str) -> list[selection.Entry]:
        return selection.entries(self.name, kind)

    def select(self, wanted) -> list[str]:
        """The tests whose states, on RabbitMQ and on ours, are wanted."""
        return [test for test, states in self.states().items() if wanted(*states)]

    def failing(self) -> list[str]:
        """Tests that pass on RabbitMQ, if only sometimes, and never on ours."""
        return self.select(lambda rabbitmq, ours: rabbitmq in (PASSED, UNSTEADY) and ours in (FAILED, SKIPPED))

    def unsteady_on_ours(self) -> list[str]:
        """Tests that always pass on RabbitMQ and sometimes on ours."""
        return self.select(lambda rabbitmq, ours: (rabbitmq, ours) == (PASSED, UNSTEADY))

    def unsteady(self) -> list[str]:
        """Tests that sometimes pass on RabbitMQ, and at least sometimes on ours: it is the test that is unsteady."""
        return self.select(lambda rabbitmq, ours: rabbitmq == UNSTEADY and ours in (PASSED, UNSTEADY))

    def failing_there(self) -> list[str]:
        """Tests that never pass on RabbitMQ: nothing can be asked of ours."""
        return self.select(lambda rabbitmq, ours: rabbitmq == FAILED)

    def excused(self) -> dict[str, str]:
        """Tests that do worse on ours for a reason that is written down, with that reason."""
        worse = {"fails": self.failing(), "unsteady": self.failing() + self.unsteady_on_ours()}
        return {
            test: entry.reason
            for kind, tests in worse.items()
            for entry in self.entries(kind)
            for test in tests
            if entry.names(test)
        }

    def errors(self) -> list[str]:
        """Why the suite is not as it should be; empty when it is."""
        excused = self.excused()
        found = [f"fails on ours: {self.explain(test)}" for test in self.failing() if test not in excused]
        found += [
            f"sometimes fails on ours: {self.explain(test)}" for test in self.unsteady_on_ours() if test not in excused
        ]
        states = self.states()
        for kind in selection.KINDS:
            for entry in self.entries(kind):
                patterns = [p for p in entry.tests if not any(selection.matches(p, test) for test in states)]
                found += [f"stale exception: there is no test {pattern}" for pattern in patterns]
        for entry in self.entries("fails"):
            passing = [test for test, (_, ours) in states.items() if entry.names(test) and ours in (PASSED, UNSTEADY)]
            found += [f"stale exception: passes on ours: {test}" for test in passing]
        if not any(rabbitmq == PASSED for rabbitmq, _ in states.values()):
            found.append("no test passes on RabbitMQ: the suite did not run")
        return [f"{self.name}: {error}" for error in found]

    def explain(self, test: str) -> str:
        attempts = self.ours.get(test, [])
        details = [attempt.detail for attempt in attempts if attempt.outcome != PASSED]
        return f"{test}: {details[-1] if details else 'it was not there'}"
