from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gateway.doctor.causes import Cause
from gateway.doctor.examine import examine
from gateway.doctor.findings import Outcome
from gateway.doctor.runner import Observer
from tests.doctor.jenkins import Jenkins
from tests.doctor.paths import NGINX_FIELDS, ask, behind_gateway, good_tls, nginx_front, running
from tests.doctor.test_inside import loaded
from tests.tools import require_tool


async def test_inside_and_outside_are_one_report(tmp_path: Path) -> None:
    jenkins = Jenkins()
    async with behind_gateway(tmp_path, jenkins) as worker:
        inside, _ = await loaded(tmp_path, controllers={"main": {"url": jenkins.url}})
        report = await examine(ask(jenkins, worker.plain, hold=0), inside.path, Observer())
        await jenkins.agents.wait_for_no_channel("a")  # the session does not stay
        assert any(attempt.verdict == "OK" for attempt in jenkins.agents.attempts)
    assert report.findings == ()
    assert report.notes == ()
    names = [step.name for step in report.steps]
    assert names.index("config") < names.index("controllers") < names.index("addresses")
    assert report.steps[-1].outcome is Outcome.SKIPPED  # the hold


async def test_without_an_agent_the_rest_is_looked_at(tmp_path: Path) -> None:
    async with running(Jenkins(websocket=True)) as jenkins:
        question = replace(ask(jenkins, jenkins.port), node=None, secret=None)
        report = await examine(question, None, Observer())
    assert report.findings == ()
    assert "--node" in report.notes[0]
    done = {step.name for step in report.steps if step.outcome is Outcome.OK}
    assert {"endpoint", "cli", "slashes"} <= done


async def test_a_proxy_that_is_not_believed_has_its_setting_named(tmp_path: Path) -> None:
    require_tool("nginx")
    jenkins, tls = Jenkins(), good_tls(tmp_path)
    inside, _ = await loaded(tmp_path)
    async with (
        behind_gateway(tmp_path, jenkins, trusted_proxies=[]) as worker,
        nginx_front(tmp_path, worker.plain, tls, fields=NGINX_FIELDS) as port,
    ):
        report = await examine(ask(jenkins, port, tls, hold=0), inside.path, Observer())
    (found,) = [each for each in report.findings if each.cause is Cause.FORWARDED_WRONG]
    assert found.settings[0].text == f"trusted_proxies in {inside.path}: it names nobody now"


async def test_a_file_that_cannot_be_used_does_not_stop_the_rest(tmp_path: Path) -> None:
    async with running(Jenkins(websocket=True)) as jenkins:
        inside, _ = await loaded(tmp_path, controllers={})
        report = await examine(ask(jenkins, jenkins.port, hold=0), inside.path, Observer())
    assert [each.cause for each in report.findings] == [Cause.CONFIGURATION]
    assert "upgrade" in {step.name for step in report.steps if step.outcome is Outcome.OK}
