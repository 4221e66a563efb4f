"""The race of the devices times every way, and says what is used by the ratios it found."""

import json

import pytest
from typer.testing import CliRunner

from easydl import cli
from easydl.training import racing
from easydl.training.racing import Time, used


def times(**ms):
    return [Time(way.replace("_", " "), value, (value, value), value, 5) for way, value in ms.items()]


def test_what_is_used_follows_the_devices_and_quotes_the_ratios():
    said = " ".join(used(times(CPU_float32=10.0, CPU_float32_XLA=20.0, CPU_bfloat16=5.0), bfloat16=True))
    assert "uses the processor" in said and "XLA is not used on a processor: here it makes a step 0.5 times" in said
    assert "bfloat16 makes a step 2.0 times as fast" in said
    said = " ".join(used(times(CPU_float32=10.0, GPU_float32=2.0, GPU_float32_XLA=1.0), bfloat16=False))
    assert "uses the GPU: 5.0 times as fast" in said and "XLA is used on a GPU: here it makes a step 2.0 times" in said
    assert "bfloat16 is not used" in said


def test_doctor_races_and_writes_it_as_json(monkeypatch):
    monkeypatch.setattr(racing, "SIDE", 16)
    monkeypatch.setattr(racing, "REPEATS", 2)
    monkeypatch.setattr(racing, "has_bfloat16", lambda: False)
    result = CliRunner().invoke(cli.app, ["doctor", "--speed", "--json"])
    speed = json.loads(result.stdout)["speed"]
    assert [one["way"] for one in speed["times"]] == ["CPU float32", "CPU float32 XLA"]
    for one in speed["times"]:
        low, high = one["step_range_ms"]
        assert 0 < low <= one["step_ms"] <= high and one["repeats"] == 2 and one["predict_ms"] > 0
    assert speed["used"] == used([Time(**one) for one in speed["times"]], bfloat16=False)
    assert "speed" not in json.loads(CliRunner().invoke(cli.app, ["doctor", "--json"]).stdout)
    lines = racing.Race([Time(**one) for one in speed["times"]], speed["used"]).text.splitlines()
    assert len(lines) == 3 + len(speed["used"]) and "times as fast as CPU float32" in lines[1]


@pytest.mark.everything
def test_the_race_takes_less_than_a_minute():
    import time

    begin = time.process_time()
    racing.race()
    assert time.process_time() - begin < 60
