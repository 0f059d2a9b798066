"""The foreign suites: where each comes from, how it is run against a broker, and how its results are read. All that is
downloaded or built lies in the cache directory. It does not know which broker it is, nor what is expected."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import selection

HERE = Path(__file__).parent
#: One test; the slowest known needs 16 s on a free machine.
TEST_SECONDS = 60
#: All tests of a suite, or of a part that runs beside the others; the longest needs 90 s on two busy cores.
SUITE_SECONDS = 400


#: Tests that are tried again in one process rather than in all parts.
ALONE = 50


@dataclass(frozen=True)
class Result:
    """How a test ended: passed, failed, skipped (by itself), missing (it began and never ended), not reached (the time
    for the suite was up) or left out; and why."""

    outcome: str
    detail: str = ""


@dataclass
class Place:
    """Where things are: our sources, and the directory for what is downloaded and built."""

    root: Path
    cache: Path

    def run(self, *command, **options) -> str:
        """Runs a command of the preparation and returns its output; what it says goes to standard error."""
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def read(lines: list[str]) -> dict[str, Result]:
    """Results of lines of JSON; the last line about a test counts."""
    rows = map(json.loads, lines)
    return {row["test"]: Result(row["outcome"], row["detail"]) for row in rows}


def limited(command, seconds: int, **options) -> str:
    """The output of a command, as far as it got within the time. What it started ends with it."""
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        running.add(process)
        try:
            return process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            end(process)
            return process.communicate()[0]
        finally:
            running.discard(process)


def end(process: subprocess.Popen) -> None:
    """Ends a command of `limited` and what it started, which would otherwise keep its output open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


#: Suites that run, for whoever must end them early.
running: set[subprocess.Popen] = set()


@dataclass
class Pytest:
    """A suite in Python, from its source distribution."""

    name: str
    paths: list[str]
    #: Most tests wait for timers rather than for the processor, so a long suite is dealt out over processes, each with
    #: a virtual host or a broker of its own, as tests share names. 0: one process, virtual host `/`, the only one that
    #: the suite can use.
    shards: int = 0
    version: str = field(init=False, default="")
    source: Path = field(init=False)
    python: Path = field(init=False)

    def prepare(self, place: Place) -> None:
        self.python = environment(place)
        archive = next((place.cache / "sdists").glob(f"{self.name.replace('-', '[-_]')}-[0-9]*.tar.gz"))
        self.version = archive.name.removesuffix(".tar.gz").rsplit("-", 1)[1]
        self.source = place.cache / archive.name.removesuffix(".tar.gz")
        if not self.source.exists():
            with tarfile.open(archive) as sources:
                sources.extractall(place.cache, filter="data")

    def run(self, urls: list[str], logs: Path, only: list[str] | None) -> dict[str, Result]:
        if only is not None:
            urls = urls[: 1 + len(only) // ALONE]  # a test that may have failed for lack of time gets more of it
        with ThreadPoolExecutor(len(urls)) as pool:
            parts = pool.map(lambda shard: self.part(urls, shard, logs, only), range(len(urls)))
            return {test: result for part in parts for test, result in part.items()}

    def part(self, urls: list[str], shard: int, logs: Path, only: list[str] | None) -> dict[str, Result]:
        results = logs.with_suffix(f".{shard}.jsonl")
        results.unlink(missing_ok=True)
        order = {"suite": self.name, "url": urls[shard], "only": only, "results": str(results)}
        variables = {
            **os.environ,
            "FOREIGN_ORDER": json.dumps(order | {"shard": shard, "shards": len(urls)}),
            "PYTHONPATH": f"{HERE}{os.pathsep}{self.source}",
            "PYTHONPYCACHEPREFIX": str(self.source.parent / "pyc"),  # not beside our own sources
            "RABBITMQ_HOST": "127.0.0.1",
            "RABBITMQ_5672_TCP": str(urlsplit(urls[shard]).port),
        }
        options = ["-p", "pytest_broker", "-p", "no:cacheprovider", "-o", "log_cli=false", f"--timeout={TEST_SECONDS}"]
        options += ["--durations=20"]
        command = [self.python, "-m", "pytest", "-q", "--tb=short", "-W", "ignore", *options, *self.paths]
        output = limited(command, SUITE_SECONDS, cwd=self.source, env=variables)
        logs.with_suffix(f".{shard}.log").write_text(output)
        return read(results.read_text().splitlines()) if results.exists() else {}


def environment(place: Place) -> Path:
    """The Python environment of all suites in Python, made anew when the requirements change. Returns its python."""
    suites, tools = HERE / "requirements.txt", HERE / "requirements-run.txt"
    wanted = sys.version + suites.read_text() + tools.read_text()
    stamp, venv, sdists = place.cache / "venv.stamp", place.cache / "venv", place.cache / "sdists"
    python = venv / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        for old in (venv, sdists):
            shutil.rmtree(old, ignore_errors=True)
        place.run(sys.executable, "-m", "venv", venv)
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        names = re.findall(r"^[\w-]+(?===)", suites.read_text(), re.MULTILINE)
        # Named, not :all:, which would want the build tools as sources as well.
        place.run(*pip, "download", "--no-deps", "--no-binary", ",".join(names), "-d", sdists, "-r", suites)
        place.run(*pip, "install", "-r", tools)
        place.run(*pip, "install", *sdists.glob("*.tar.gz"))
        stamp.write_text(wanted)
    return python


@dataclass
class Go:
    """amqp091 of Go, from Debian's package of its sources."""

    name: str = "amqp091-go"
    shards: int = 1
    version: str = field(init=False, default="")
    binary: Path = field(init=False)
    package: str = field(init=False, default="golang-github-rabbitmq-amqp091-go-dev")

    def prepare(self, place: Place) -> None:
        if not shutil.which("go") or not self.installed():
            place.run("apt-get", "-qq", "update")
            place.run("apt-get", "-qq", "install", "-y", "--no-install-recommends", "golang-go", self.package)
        self.version = self.installed()
        self.binary = place.cache / "amqp091.test"
        variables = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
        variables["GOCACHE"] = str(place.cache / "go")
        package = "github.com/rabbitmq/amqp091-go"
        place.run("go", "test", "-tags", "integration", "-c", "-o", self.binary, package, env=variables)

    def installed(self) -> str:
        query = ["dpkg-query", "--show", "--showformat=${Version}", self.package]
        return subprocess.run(query, capture_output=True, text=True).stdout

    def run(self, urls: list[str], logs: Path, only: list[str] | None) -> dict[str, Result]:
        variables = {**os.environ, "AMQP_URL": urls[0]}
        listed = limited([self.binary, "-test.list", "^(Test|Example)"], TEST_SECONDS, env=variables).split()
        results = {test: Result("left out") for test in listed if selection.left_out(self.name, test)}
        chosen = [test for test in listed if test not in results and (only is None or test in only)]
        results |= {test: Result("missing", "it never ended") for test in chosen}
        outputs = []
        for test in chosen:  # each in a process of its own, so that one that hangs is ended without the others
            command = ["go", "tool", "test2json", self.binary, "-test.v", f"-test.run=^{test}$"]
            outputs.append(limited(command, TEST_SECONDS, env=variables, cwd=logs.parent))
        logs.with_suffix(".log").write_text("".join(outputs))
        return results | go_results("".join(outputs))


def go_results(output: str) -> dict[str, Result]:
    """The outcome of each top-level test in the output of test2json."""
    ended = {"pass": "passed", "fail": "failed", "skip": "skipped"}
    results, said = {}, {}
    for line in filter(lambda line: line.startswith("{"), output.splitlines()):
        event = json.loads(line)
        test = event.get("Test", "").split("/")[0]
        if event["Action"] == "output" and not event["Output"].startswith(("===", "---", "\t")):
            said[test] = event["Output"].strip()
        elif event["Action"] in ended and test and test == event["Test"]:
            detail = said.get(test, "") if event["Action"] == "fail" else ""
            results[test] = Result(ended[event["Action"]], detail)
    return results


@dataclass
class Lapin:
    """lapin's own tests, from the sources that cargo holds because our nodes use that crate."""

    name: str = "lapin"
    shards: int = 1
    version: str = field(init=False, default="")
    binaries: dict[str, Path] = field(init=False, default_factory=dict)

    def prepare(self, place: Place) -> None:
        metadata = place.run("cargo", "metadata", "--locked", "--format-version=1", cwd=place.root)
        lapin = next(p for p in json.loads(metadata)["packages"] if p["name"] == "lapin")
        self.version = lapin["version"]
        source = place.cache / f"lapin-{self.version}"
        if not source.exists():
            shutil.copytree(Path(lapin["manifest_path"]).parent, source)
            with (source / "Cargo.toml").open("a") as manifest:
                manifest.write("\n[workspace]\n")  # it lies inside of ours, and is not a member
        # Without TLS, and without debug information: half the time to build.
        options = ["--locked", "--no-run", "--message-format=json", "--test=*"]
        features = ["--no-default-features", "--features=tokio,smol"]
        variables = {**os.environ, "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_TARGET_DIR": str(place.cache / "lapin")}
        # It computes while the other suites already run, and must not keep them from the processor.
        built = place.run("nice", "cargo", "test", *options, *features, cwd=source, env=variables)
        for message in map(json.loads, built.splitlines()):
            if message.get("executable") and message["target"]["kind"] == ["test"]:
                self.binaries[message["target"]["name"]] = Path(message["executable"])

    def run(self, urls: list[str], logs: Path, only: list[str] | None) -> dict[str, Result]:
        variables = {**os.environ, "AMQP_ADDR": urls[0], "RUST_LOG": "off"}
        results, outputs = {}, []
        for name, binary in self.binaries.items():  # one after the other: they share the names of their queues
            listed = limited([binary, "--list"], TEST_SECONDS, env=variables)
            tests = [f"{name}::{test}" for test in re.findall(r"^(.+): test$", listed, re.MULTILINE)]
            results |= {test: Result("left out") for test in tests if selection.left_out(self.name, test)}
            chosen = [test for test in tests if test not in results and (only is None or test in only)]
            results |= {test: Result("missing", "it never ended") for test in chosen}
            for test in chosen:
                output = limited([binary, "--exact", test.removeprefix(f"{name}::")], TEST_SECONDS, env=variables)
                outputs.append(output)
                results |= {f"{name}::{test}": result for test, result in rust_results(output).items()}
        logs.with_suffix(".log").write_text("\n".join(outputs))
        return results


def rust_results(output: str) -> dict[str, Result]:
    """The outcome of each test in the output of Rust's test harness."""
    ended = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}
    panics = dict(re.findall(r"^thread '(.+?)'.* panicked at .*\n(.*)$", output, re.MULTILINE))
    found = re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", output, re.MULTILINE)
    return {test: Result(ended[end], panics.get(test, "") if end == "FAILED" else "") for test, end in found}


#: In the order of preparation, in which they start: the longest first, and last the one that takes long to build.
SUITES = [
    Pytest("aio-pika", ["tests"], shards=3),
    Pytest("aiormq", ["tests"], shards=3),
    Pytest("kombu", ["t/integration/test_py_amqp.py"]),
    Go(),
    Pytest("amqp", ["t/integration"]),
    Lapin(),
]
