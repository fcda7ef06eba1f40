from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

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


async def test_where_one_controller_is_meant_it_is_named(tmp_path: Path) -> None:
    jenkins = Jenkins()
    async with behind_gateway(tmp_path, jenkins) as worker:
        inside, _ = await loaded(tmp_path, controllers={"ci": {"url": jenkins.url}})
        question = ask(jenkins, worker.plain, hold=0)
        question = replace(
            question,
            target=replace(question.target, host="ci.example.com"),
            connect_to=("127.0.0.1", worker.plain),
        )
        report = await examine(question, inside.path, Observer())
    (found,) = [each for each in report.findings if each.cause is Cause.CLI_ORIGIN]
    assert "controllers.ci.jenkins_url" in found.remedy
    assert found.settings[0].text.startswith("controllers: {ci: {jenkins_url: http://ci.example")


async def test_a_refusal_has_the_gateways_own_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reason(_: object) -> str:
        return f"not authorized: locked out, and not for {'0' * 64}"

    monkeypatch.setattr("gateway.doctor.examine.reason_of_refusal", reason)
    jenkins = Jenkins()
    async with behind_gateway(tmp_path, jenkins) as worker:
        inside, _ = await loaded(tmp_path, controllers={"main": {"url": jenkins.url}})
        question = ask(jenkins, worker.plain, secret="0" * 64)
        report = await examine(question, inside.path, Observer())
    first = report.findings[0]
    assert first.cause is Cause.WRONG_SECRET
    assert first.seen[-1] == "the gateway's own reason: not authorized: locked out, and not for ***"
