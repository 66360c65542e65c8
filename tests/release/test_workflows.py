"""The workflows of the public forge call what exists here, with pinned actions and the least rights."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.commands import make_targets

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
#: `owner/name@COMMIT # v1.2.3`, also with a path after the name. A tag can be moved to other code, a commit cannot.
PINNED = re.compile(r"(?P<action>[\w.-]+/[\w./-]+@[0-9a-f]{40}) # v\d+\.\d+\.\d+")
#: Programs of the forge's machines.
OF_THE_MACHINE = {"git", "mkdir", "cd", "cp", "gh", "sha256sum"}


def workflow(name: str) -> dict[str, Any]:
    return yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job.get("steps", [])]


def commands(name: str) -> list[list[str]]:
    lines = [line for step in steps(name) for line in step.get("run", "").splitlines()]
    return [shlex.split(part) for line in lines for part in line.split("&&")]


def test_the_workflows_are_these() -> None:
    assert list(WORKFLOWS) == ["ci", "release", "wheels"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_a_workflow_runs_exists(name: str) -> None:
    for words in commands(name):
        program, *arguments = words
        if program == "make":
            targets = [word for word in arguments if "=" not in word]
            assert targets, words
            assert set(targets) <= make_targets(), words
        elif program not in OF_THE_MACHINE:
            assert program.startswith(".ci/"), words
            assert (ROOT / program).stat().st_mode & 0o100, words


def test_the_workflows_run_what_a_contributor_runs() -> None:
    assert {(".ci/run",), (".ci/run", "long"), ("make", "test")} <= {tuple(words) for words in commands("ci")}
    assert ["make", "wheels"] in commands("wheels")
    assert ["make", "release", "TAG=$TAG"] in commands("release")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_to_a_commit_whose_version_is_named(name: str) -> None:
    used = [step["uses"] for step in steps(name) if "uses" in step]
    assert used
    text = WORKFLOWS[name].read_text(encoding="utf-8")
    pinned = [PINNED.fullmatch(line) for line in re.findall(r"^ +- uses: (.*)$", text, re.MULTILINE)]
    assert [match and match["action"] for match in pinned] == used
    for job in workflow(name)["jobs"].values():
        if "uses" in job:
            assert (ROOT / job["uses"]).is_file()
        else:
            # No image or machine that changes under the same name from one month to the next.
            assert "latest" not in f"{job['runs-on']} {job.get('container', '')} {job.get('strategy', '')}"
            assert job["timeout-minutes"] > 0


@pytest.mark.parametrize("name", WORKFLOWS)
def test_rights_are_the_least(name: str) -> None:
    content = workflow(name)
    assert content["permissions"] == {"contents": "read"}
    more = {job: body["permissions"] for job, body in content["jobs"].items() if "permissions" in body}
    assert more == ({"index": {"id-token": "write"}, "page": {"contents": "write"}} if name == "release" else {})
    for step in steps(name):
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False
        # A name that others choose, such as a branch, must not become part of a command.
        assert "${{" not in step.get("run", "")
    text = WORKFLOWS[name].read_text(encoding="utf-8")
    assert "pull_request_target" not in text
    assert "secrets." not in text


def test_what_may_write_runs_no_code_of_the_repository() -> None:
    for body in workflow("release")["jobs"].values():
        if "permissions" in body:
            assert not any("checkout" in step.get("uses", "") for step in body["steps"])
            assert not any("make" in step.get("run", "") or ".ci/" in step.get("run", "") for step in body["steps"])


def test_a_release_is_published_by_trust_and_after_it_was_tried() -> None:
    # YAML 1.1 reads the key `on` as true.
    assert workflow("release")[True] == {"push": {"tags": ["v*"]}}
    jobs = workflow("release")["jobs"]
    assert [jobs[name].get("needs") for name in ("wheels", "artefacts", "index", "page")] == [
        None, "wheels", "artefacts", "index",
    ]  # fmt: skip
    assert jobs["index"]["environment"] == "pypi"
    [publish] = [step for step in jobs["index"]["steps"] if "pypi-publish" in step.get("uses", "")]
    assert publish["with"] == {"packages-dir": "upload"}


@pytest.mark.parametrize("name", ["index", "page"])
def test_nothing_is_published_before_its_hashes_are_checked(name: str) -> None:
    """Between the job that makes the files and the one that publishes them, they are on the forge's disks."""
    kinds = [
        next(kind for kind in ("download-artifact", "sha256sum --check --strict", "pypi-publish", "gh release", "mkdir")
             if kind in step.get("uses", step.get("run")))
        for step in workflow("release")["jobs"][name]["steps"]
    ]  # fmt: skip
    assert kinds[:2] == ["download-artifact", "sha256sum --check --strict"]
    assert kinds[-1] in {"pypi-publish", "gh release"}


def test_one_commit_of_an_action_is_used_everywhere() -> None:
    commits: dict[str, set[str]] = {}
    for name in WORKFLOWS:
        for step in steps(name):
            if "uses" in step:
                action, _, commit = step["uses"].partition("@")
                commits.setdefault(action, set()).add(commit)
    assert {action: found for action, found in commits.items() if len(found) > 1} == {}


def test_every_python_of_the_classifiers_is_tested_and_built_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = re.findall(r":: (3\.\d+)$", "\n".join(project["project"]["classifiers"]), re.MULTILINE)
    assert len(named) > 3
    jobs = workflow("ci")["jobs"]
    assert named == [
        re.fullmatch(r"python:(3\.\d+)-\w+", jobs["everything"]["container"])[1],  # type: ignore[index]
        *jobs["tests"]["strategy"]["matrix"]["python"],
    ]
    build = project["tool"]["cibuildwheel"]["build"]
    assert build == [f"cp{version.replace('.', '')}-*" for version in named]
    last = int(named[-1].partition(".")[2])
    assert project["project"]["requires-python"] == f">={named[0]},<3.{last + 1}"
    for page in ("README.md", "CONTRIBUTING.md"):
        found = re.findall(r"Python (3\.\d+) to (3\.\d+)", (ROOT / page).read_text(encoding="utf-8"))
        assert found == [(named[0], named[-1])], page


def test_the_check_of_a_wheel_knows_every_package_in_it() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert sorted(tools["check-wheel-contents"]["toplevel"]) == sorted(tools["scikit-build"]["wheel"]["packages"])


def test_wheels_are_built_where_the_configuration_says() -> None:
    machines = workflow("wheels")["jobs"]["wheels"]["strategy"]["matrix"]["machine"]
    assert [machine.split("-")[0] for machine in machines] == ["ubuntu", "ubuntu", "macos", "windows"]
    assert [machine for machine in machines if machine.endswith("-arm")] == ["ubuntu-24.04-arm"]
