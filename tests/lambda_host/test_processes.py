"""The host keeps Lambda's promises, and Lambda's limits: told by handlers that are none of ours."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from dev.lambda_host import Throttled
from dev.lambda_host.function import LARGEST_PAYLOAD, PayloadTooLarge
from dev.postgres.processes import until
from tests.databases import ROOT
from tests.lambda_host.conftest import Hosting


def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_process_has_nothing_but_what_lambda_and_the_template_give_it(
    hosting: Hosting, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THIS_MACHINE", "1")
    told = hosting("echo", timeout_s=7, environment={"STAGE": "dev"}).invoke("echo", {"a": 1}).json
    assert told["event"] == {"a": 1}
    assert told["cwd"] == told["path"][0] == told["environment"]["LAMBDA_TASK_ROOT"] == str(fakes)
    assert 5_000 < told["left_ms"] <= 7_000
    assert told["arn"].endswith(":function:echo")
    assert told["environment"]["STAGE"] == "dev"
    assert "OF_THIS_MACHINE" not in told["environment"]
    assert not {"HOME", "PYTHONPATH", "VIRTUAL_ENV"} & told["environment"].keys()
    # The artifact, Python's own library, and the runtime client.
    assert not [path for path in told["path"] if str(ROOT / ".venv") in path]
    assert str(ROOT) not in told["path"]


def test_a_process_serves_one_after_the_other(hosting: Hosting) -> None:
    host = hosting("echo")
    told = [host.invoke("echo", None).json for _ in range(5)]
    assert [one["count"] for one in told] == [1, 2, 3, 4, 5]
    assert len({one["pid"] for one in told}) == 1
    assert len({one["request_id"] for one in told}) == 5


def test_requests_at_once_have_a_process_each_and_those_beyond_are_throttled(
    hosting: Hosting, tmp_path: Path
) -> None:
    host = hosting("meets", most_at_once=3)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(host.invoke, "meets", {"place": str(tmp_path), "others": 4}) for _ in range(3)]
        assert until(lambda: len(list(tmp_path.iterdir())) == 3, 10)
        with pytest.raises(Throttled):
            host.invoke("meets", {"place": str(tmp_path), "others": 1})
        (tmp_path / "the fourth").touch()
        assert len({one.result().json["pid"] for one in asked}) == 3


def test_between_two_invocations_a_process_stands_still(hosting: Hosting) -> None:
    host = hosting("counts")
    before = host.invoke("counts", "begin").json["ticks"]
    process = psutil.Process(host.fleet("counts").sandboxes[0].pid)
    assert until(lambda: process.status() == psutil.STATUS_STOPPED, 5)
    used = process.cpu_times()
    # It would count to sixty meanwhile.
    time.sleep(0.3)
    assert process.cpu_times() == used
    assert host.invoke("counts", None).json["ticks"] - before < 20
    counting = psutil.Process(host.fleet("counts").sandboxes[0].pid)
    assert until(lambda: counting.status() == psutil.STATUS_STOPPED, 5)


def test_a_process_at_its_timeout_is_killed_with_all_that_it_started(
    hosting: Hosting, tmp_path: Path
) -> None:
    host = hosting("hangs", timeout_s=1, most_at_once=1)
    answer = host.invoke("hangs", {"place": str(tmp_path / "pids")})
    assert answer.function_error == "Unhandled"
    assert answer.json["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 1.00 seconds" in answer.json["errorMessage"]
    host.logs.wait_for("Task timed out after 1.00 seconds", "hangs")
    for pid in (tmp_path / "pids").read_text().split():
        assert until(lambda pid=int(pid): _is_gone(pid), 5)  # type: ignore[misc]
    assert not host.fleet("hangs").sandboxes


def test_an_exception_is_an_error_and_the_process_goes_on(hosting: Hosting) -> None:
    host = hosting("fails")
    first, second = host.invoke("fails", None), host.invoke("fails", None)
    assert [one.function_error for one in (first, second)] == ["Unhandled"] * 2
    assert first.json["errorType"] == "ValueError"
    assert first.json["errorMessage"] == "as it was told to"
    assert len(host.fleet("fails").sandboxes) == 1


def test_a_process_that_ends_is_an_error_and_the_next_request_has_a_new_one(hosting: Hosting) -> None:
    host = hosting("exits", most_at_once=1)
    for _ in range(2):
        answer = host.invoke("exits", None)
        assert answer.json["errorType"] == "Runtime.ExitError"
        assert "exit status 3" in answer.json["errorMessage"]


def test_a_process_that_died_while_it_was_idle_is_not_given_work(hosting: Hosting) -> None:
    host = hosting("echo")
    first = host.invoke("echo", None).json
    os.kill(first["pid"], signal.SIGKILL)
    assert until(lambda: not host.fleet("echo").sandboxes, 5)
    second = host.invoke("echo", None).json
    assert second["count"] == 1
    assert second["pid"] != first["pid"]


def test_six_megabytes_each_way_and_no_more(hosting: Hosting) -> None:
    host = hosting("sized")
    most = LARGEST_PAYLOAD - 2  # its quotes
    assert len(host.invoke("sized", {"answers": most}).json) == most
    with pytest.raises(PayloadTooLarge):
        host.invoke("sized", {"answers": 1, "padding": "x" * LARGEST_PAYLOAD})
    refused = host.invoke("sized", {"answers": most + 1})
    assert refused.json["errorType"] == "Function.ResponseSizeTooLarge"
    assert host.invoke("sized", {"answers": 1}).json == "x"


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("raise KeyError('a setting')", "KeyError", "a setting"),
        ("import none_such", "Runtime.ImportModuleError", "No module named 'none_such'"),
        ("import sys; sys.exit('latchkey  a wrong setting')", "Runtime.ExitError", "exit status 1"),
        ("import time; time.sleep(60)", "Sandbox.Timedout", "Task timed out after 0.70 seconds"),
        ("", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'broken'"),
    ],
)
def test_what_goes_wrong_at_init_is_shown(
    hosting: Hosting, tmp_path: Path, source: str, kind: str, message: str
) -> None:
    """Lambda tries once more, within the invocation that needed it."""
    (tmp_path / "broken.py").write_text(f"print('beginning', flush=True)\n{source}\n")
    host = hosting("broken", root=tmp_path, handler="broken.handler", timeout_s=0.7, init_timeout_s=0.7)
    answer = host.invoke("broken", None)
    assert answer.function_error == "Unhandled"
    assert answer.json["errorType"] == kind
    assert message in answer.json["errorMessage"]
    said = [line.text for line in host.logs.of("broken")]
    assert said.count("beginning") == 2
    assert sum("INIT_REPORT Status" in line for line in said) == 2
    if "a wrong setting" in source:
        assert said.count("latchkey  a wrong setting") == 2
    assert not host.fleet("broken").sandboxes


def test_what_nobody_uses_is_ended(hosting: Hosting) -> None:
    host = hosting("echo", idle_s=0.1)
    pid = host.invoke("echo", None).json["pid"]
    assert until(lambda: not host.fleet("echo").sandboxes, 5)
    assert _is_gone(pid)
    assert host.invoke("echo", None).json["count"] == 1


def test_the_host_ends_all_that_it_started_frozen_or_not(hosting: Hosting, tmp_path: Path) -> None:
    host = hosting("meets")
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(host.invoke, "meets", {"place": str(tmp_path), "others": 2})
        assert until(lambda: bool(list(tmp_path.iterdir())), 10)
        pids = [one.pid for one in host.fleet("meets").sandboxes]
        host.stop()
        assert asked.result().json["errorType"] == "Runtime.ExitError"
    assert all(_is_gone(pid) for pid in pids)


_KILLED = """
import sys, time
from pathlib import Path
from dev.lambda_host import Function, LambdaHost
host = LambdaHost(Path(sys.argv[1]), [Function(name="echo", handler="fakes.echo", timeout_s=9)]).start()
print(host.invoke("echo", None).json["pid"], flush=True)
time.sleep(600)
"""


def test_what_is_frozen_goes_with_a_host_that_is_killed(runtime: Path, fakes: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(fakes)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        assert not _is_gone(pid)
        host.kill()
    assert until(lambda: _is_gone(pid), 5)
