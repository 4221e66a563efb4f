"""Several workers: who they are, that they find each other, what each reads, and what is said when one is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest
import tensorflow as tf
from made import png_study
from small_models import tiny

import easydl
from easydl import runs
from easydl.errors import InputError, RunError
from easydl.training import coordination, meeting, workers
from easydl.training.meeting import meet
from easydl.training.workers import ALONE, Team, Workers, _ended_by_a_signal, check_several, playing, team, who_was_lost

TWO = "a.org:2222,b.org:2223"


def free_ports(count):
    with_sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in with_sockets]
    for one in with_sockets:
        one.close()
    return [f"127.0.0.1:{port}" for port in ports]


def test_workers_come_from_options_or_from_tf_config():
    asked = Workers.of(TWO, 1)
    assert asked.addresses == ("a.org:2222", "b.org:2223") and asked.number == 1 and not asked.is_first
    assert Workers.of(None, None, asked.tf_config()) == asked
    config = {"cluster": {"chief": ["a.org:2222"], "worker": ["b.org:2223"]}, "task": {"type": "worker", "index": 0}}
    assert Workers.of(None, None, json.dumps(config)) == asked
    config["task"] = {"type": "chief", "index": 0}
    assert Workers.of(None, None, json.dumps(config)).is_first
    assert Workers.of(None, None, None) is None
    assert Workers.of("a.org:2222", 0) is None  # one alone is none
    assert Workers.of(TWO, 0, json.dumps(config)).addresses[1] == "b.org:2223"


@pytest.mark.parametrize(
    ("addresses", "number", "config", "found"),
    [
        (TWO, None, None, "without --worker"),
        (None, 0, None, "without --workers"),
        (TWO, 2, None, "worker 2"),
        ("a.org,b.org", 0, None, "'a.org'"),
        ("a:1,b:99999", 0, None, "'b:99999'"),
        ("a:1,a:1", 0, None, "given twice"),
        (None, None, "{", "TF_CONFIG cannot be read"),
        (None, None, '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker"}}', "ps"),
    ],
)
def test_what_makes_no_sense_is_refused_in_three_parts(addresses, number, config, found):
    with pytest.raises(InputError) as caught:
        Workers.of(addresses, number, config)
    assert found in caught.value.found and caught.value.expected and caught.value.do


def met(addresses, settings, *, wait_s=20.0):
    """What each worker found out, all of them started at once."""
    problems = [None] * len(addresses)

    def one(number):
        try:
            meet(Workers(tuple(addresses), number), settings[number], wait_s=wait_s)
        except RunError as problem:
            problems[number] = problem

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(settings))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return problems


def test_workers_meet_and_those_with_other_settings_are_refused(monkeypatch):
    monkeypatch.setattr(meeting, "LOOK_S", 0.05)
    assert met(free_ports(3), [{"epochs": 3}] * 3) == [None] * 3
    first, second = met(free_ports(2), [{"epochs": 3}, {"epochs": 4}])
    assert "Worker 1 was started with other settings" in first.found and "other settings" in second.found


def test_a_worker_that_does_not_come_is_named_within_the_time(monkeypatch):
    monkeypatch.setattr(meeting, "LOOK_S", 0.05)
    addresses = free_ports(3)
    begin = time.monotonic()
    first = met(addresses, [{}], wait_s=0.3)[0]
    assert f"worker 1 ({addresses[1]})" in first.found and f"worker 2 ({addresses[2]})" in first.found
    with pytest.raises(RunError, match="did not answer"):
        meet(Workers(tuple(addresses), 1), {}, wait_s=0.3)
    assert time.monotonic() - begin < 10
    with (
        socket.create_server(("", int(addresses[0].rpartition(":")[2]))),
        pytest.raises(RunError, match="cannot be used"),
    ):
        meet(Workers(tuple(addresses), 0), {})


def test_a_worker_that_ended_before_all_were_there_is_waited_for_again(monkeypatch):
    monkeypatch.setattr(meeting, "LOOK_S", 0.05)
    addresses = free_ports(3)
    host, port = addresses[0].split(":")
    digest = meeting.digest_of({})
    problems = []

    def first():
        try:
            meet(Workers(tuple(addresses), 0), {}, wait_s=20.0)
        except RunError as problem:
            problems.append(problem)

    leading = threading.Thread(target=first)
    leading.start()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            with socket.create_connection((host, int(port))) as line:  # it greets, and ends
                line.sendall(meeting.GREETING + f"1 {digest}\n".encode())
                break
        except OSError:
            time.sleep(0.05)
    others = [threading.Thread(target=meet, args=(Workers(tuple(addresses), number), {})) for number in (2, 1)]
    for one in others:
        one.start()
    for one in (leading, *others):
        one.join(20)
        assert not one.is_alive()
    assert not problems


def test_tensorflow_waits_for_all_workers_for_two_minutes_only(monkeypatch):
    context = coordination.context.context()
    monkeypatch.setattr(context, "_context_handle", None)  # it warns of a change that comes late
    monkeypatch.setattr(context, "_coordination_service_config", None)
    coordination.start_within(2, coordination.START_S)
    found = context.config.experimental.coordination_config
    assert (found.cluster_register_timeout_in_ms, found.cluster_register_with_barrier) == (120_000, True)
    assert [(job.name, job.num_tasks) for job in found.coordinated_job_list] == [("worker", 2)]
    assert found.service_leader == "/job:worker/replica:0/task:0"


def test_each_reads_its_share_and_an_epoch_shows_every_image_once():
    teams = [Team(3, (number,)) for number in range(3)]
    assert sorted(row for one in teams for row in one.rows(11)) == list(range(11))
    steps = [one.orders(11, 2, seed=5)(4) for one in teams]
    seen = sorted(one.rows(11)[place] for one, own in zip(teams, steps, strict=True) for step in own for place in step)
    assert seen == list(range(11)) and {len(own) for own in steps} == {2}
    # One process that plays all three sees in every step what they see together.
    whole = Team(3, (0, 1, 2)).orders(11, 2, seed=5)(4)
    for step in range(2):
        parts = [one.rows(11)[place] for one, own in zip(teams, steps, strict=True) for place in own[step]]
        assert whole[step].tolist() == parts
    assert [step.tolist() for step in teams[1].orders(11, 2, seed=5)(5)] != [step.tolist() for step in steps[1]]


def test_a_lost_worker_is_named():
    aborted = (
        "Collective ops is aborted by: Error reported from /job:worker/task:0: unhealthy: /job:worker/replica:0/task:1"
    )
    with playing(Team(2, (0,), None, ("a:1", "b:2"))):
        assert "Worker 1 (b:2) no longer answers" in who_was_lost(tf.errors.UnavailableError(None, None, aborted)).found
        assert who_was_lost(ValueError("a shape")) is None
    late = (
        "Barrier timed out. The first task at the barrier: /job:worker/replica:0/task:1. Some timed out task names:\n"
        "/job:worker/replica:0/task:2\n"
    )
    with playing(Team(3, (0,), None, ("a:1", "b:2", "c:3"))):
        assert "Worker 2 (c:3)" in who_was_lost(tf.errors.DeadlineExceededError(None, None, late)).found
    with playing(Team(2, (0,), None, ("a:1", "b:2"))):
        assert "Another worker" in who_was_lost(tf.errors.AbortedError(None, None, "reset by peer")).found
    assert team() is ALONE


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"teacher": "m.keras"}, "for teacher"),
        ({"unlabelled": "films"}, "for unlabelled"),
        ({"learning_rate": "find"}, "for learning_rate='find'"),
        ({"batch_size": "auto"}, "for batch_size='auto'"),
    ],
)
def test_what_one_process_has_to_do_is_refused_before_anybody_waits(option, said, monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "meet", None)
    two = Workers(("a:1", "b:2"), 1)
    with pytest.raises(InputError) as caught:
        runs.run(runs.RunConfig(source="gone.csv", **option), tmp_path, workers=two, progress=lambda _: None)
    assert f"2 workers were given {said}" in caught.value.found and caught.value.expected and caught.value.do
    check_several(1, option)
    check_several(2, {"learning_rate": 0.01, "batch_size": 8, "teacher": None})


def test_parts_without_enough_images_are_refused(parts):
    train, val, _ = parts
    with playing(Team(99, (0,))), pytest.raises(InputError, match="there are 99 workers"):
        easydl.fit(tiny(train), train, val, epochs=1, verbose=False)


def start(table, folder, addresses, number, *words, dies=False):
    options = [
        "--model",
        "tiny",
        "--size",
        32,
        "--augment",
        "none",
        "--batch-size",
        8,
        "--heatmaps",
        0,
        "--seed",
        3,
        *words,
    ]
    command = [
        sys.executable,
        *(("-c", DIES) if dies else ("-m", "easydl")),
        "train",
        table,
        *options,
        "--workers",
        ",".join(addresses),
        "--worker",
        number,
    ]
    command += ["--folder", folder] if number == 0 else []
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    )


@pytest.mark.quick
def test_a_worker_is_ended_by_the_signal_that_ends_processes():
    before = signal.getsignal(signal.SIGTERM)
    with _ended_by_a_signal():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == before


DIES = """
import os, sys
from easydl.training import workers
meet = workers.meet
workers.meet = lambda *given, **options: (meet(*given, **options), os._exit(9))
sys.argv[0] = "easydl"
from easydl.cli import main
main()
"""


@pytest.mark.everything
@pytest.mark.parametrize("lost", [0, 1])
def test_a_worker_that_dies_between_the_meeting_and_tensorflow_is_named(tmp_path, lost):
    table, folder, addresses = png_study(tmp_path / "s", per_class=20), tmp_path / "run", free_ports(2)
    both = [start(table, folder, addresses, number, "--epochs", 2, dies=number == lost) for number in (0, 1)]
    assert both[lost].wait(timeout=120) == 9
    begun = time.monotonic()
    said, _ = both[1 - lost].communicate(timeout=240)
    assert time.monotonic() - begun < coordination.START_S + 30
    assert both[1 - lost].returncode == 1
    assert said.count(f"Worker {lost} ({addresses[lost]}) no longer answers") == 1 and "Traceback" not in said
    assert "Expected: all 2 workers" in said and "What to do: " in said


@pytest.mark.everything
@pytest.mark.parametrize(("lost", "how"), [(1, signal.SIGKILL), (1, signal.SIGTERM), (0, signal.SIGKILL)])
def test_two_processes_train_a_lost_one_is_said_and_the_run_goes_on(tmp_path, lost, how):
    table, folder = png_study(tmp_path / "s", per_class=20), tmp_path / "run"
    both = [
        start(table, folder, addresses, number, "--epochs", 4000) for addresses in [free_ports(2)] for number in (0, 1)
    ]
    end = time.monotonic() + 300
    while not (folder / "checkpoint.npz").exists():
        assert time.monotonic() < end and both[0].poll() is None
        time.sleep(0.2)
    both[lost].send_signal(how)
    said, _ = both[1 - lost].communicate(timeout=120)
    assert both[lost].wait(timeout=30) == -how
    assert (
        both[1 - lost].returncode == 1
        and f"Worker {lost}" in said
        and "no longer answers" in said
        and "Traceback" not in said
    )
    done = len(pd.read_csv(folder / "history.csv"))
    again = [
        start(table, folder, addresses, number, "--epochs", 4000) for addresses in [free_ports(2)] for number in (0, 1)
    ]
    while len(pd.read_csv(folder / "history.csv")) <= done:
        assert time.monotonic() < end + 300 and again[0].poll() is None
        time.sleep(0.2)
    (folder / "stop").touch()
    for one in again:
        one.communicate(timeout=120)
    rows = pd.read_csv(folder / "history.csv")
    assert rows["epoch"].tolist() == list(range(1, len(rows) + 1)) and len(rows) > done
    assert json.loads((folder / "status.json").read_text())["state"] == "stopped"
    assert again[1].returncode == 0
