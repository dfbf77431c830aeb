"""Devices and speeds: the table is whole, predictions beside what others have published, the mission's two devices."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from bench import published
from puna.errors import InvalidRequest
from puna.gguf import GGMLType, open_model
from puna.planner.anatomy import anatomy_of
from puna.planner.devices import MARKS, USUAL_CLOCK, device_named, devices
from puna.planner.roofline import predict
from puna.planner.training import train
from puna.store import Store
from tests.planner.headers import llama_8b


def test_every_figure_has_a_mark_and_every_device_a_source() -> None:
    assert len(devices()) > 70
    for device in devices().values():
        figures = (
            device.memory, device.bandwidth, device.clock, device.fp32, device.fp16, device.int8, device.power,
        )  # fmt: skip
        assert {figure.mark for figure in figures if figure} <= set(MARKS)
        assert all(figure.value > 0 for figure in figures if figure)
        assert device.fp32 or device.fp16
        assert device.source
        assert device.rates().quantized.compute > 0


def test_the_constants_are_those_that_were_fitted() -> None:
    table = {device.device_class.name: device.device_class for device in devices().values()}
    for fitted in published.fit():
        known = table[fitted.name]
        assert (known.read, known.layer_kilocycles) == (fitted.read, fitted.layer_kilocycles)
        assert known.quantized[1] == pytest.approx(fitted.quantized[1], abs=2e-3)
        assert known.floats[1] == pytest.approx(fitted.floats[1], abs=2e-3)


def test_published_speeds_that_nothing_was_fitted_on_are_predicted() -> None:
    tested = [abs(e) for row in published.rows() if not row.fitted for e in published.beside(row).errors.values()]
    assert len(tested) >= 18
    assert max(tested) < 0.15
    assert median(tested) < 0.06


def test_half_of_the_rows_of_each_class_are_held_back() -> None:
    fitted: dict[str, list[bool]] = {}
    for row in published.rows():
        fitted.setdefault(device_named(row.device).device_class.name, []).append(row.fitted)
    for chosen in fitted.values():
        assert chosen == [i % 2 == 0 for i in range(len(chosen))]


@pytest.mark.parametrize(
    ("model", "gigabytes"),
    [
        ("llama-2-7b Q4_0", 3.826), ("llama-2-7b F16", 13.478), ("llama-3-8b Q4_K_M", 4.921),
        ("llama-3.2-3b Q4_K_M", 2.019), ("llama-3-70b Q4_K_M", 42.52), ("qwen2.5-7b Q8_0", 8.099),
        ("qwen2.5-14b Q4_K_M", 8.988),
    ],
)  # fmt: skip
def test_the_models_of_published_rows_have_their_files_sizes(model: str, gigabytes: float) -> None:
    """Shapes, untied heads and mixes of types: a head that is left out is 1 GB of 9."""
    assert published.model(model).file_bytes / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_a_model_that_is_next_to_nothing_waits_for_the_launches_of_its_layers() -> None:
    """From the bandwidth alone 300 000 tokens a second would be written; layers take some 40 microseconds each."""
    with open_model(Store(Path("none")).resolve("cria").path) as file:
        anatomy = anatomy_of(file)
    for device in devices().values():
        speed = predict(anatomy, device.rates(), prompt=512, context=1024, sequences=1, kv_type="f16")
        assert speed.decode < 25_000, device.name


def test_a_device_whose_clock_is_not_published_takes_the_usual_one() -> None:
    device = device_named("Ascend 910B3")
    assert device.clock is None
    assert device.rates().layer_seconds == device.device_class.layer_kilocycles * 1e3 / (USUAL_CLOCK * 1e9)


@pytest.mark.parametrize(
    ("asked", "name"), [("rtx4090", "RTX 4090"), ("n5095", "Celeron N5095"), ("m4 max", "M4 Max"), ("h200", "H200")]
)
def test_names_are_found_as_people_write_them(asked: str, name: str) -> None:
    assert device_named(asked).name == name


@pytest.mark.parametrize(("asked", "hint"), [("RTX 4900", "RTX 4090"), ("toaster", "--devices"), ("", "--devices")])
def test_an_unknown_device_is_an_error_that_helps(asked: str, hint: str) -> None:
    with pytest.raises(InvalidRequest, match=hint):
        device_named(asked)


def test_the_phone_wins_prompts_and_the_small_computer_wins_answers() -> None:
    anatomy = anatomy_of(llama_8b(GGMLType.Q4_0))
    phone, computer = (
        predict(anatomy, device_named(name).rates(), prompt=512, context=2048, sequences=1, kv_type="f16")
        for name in ("Dimensity 6020", "Celeron N5095")
    )
    assert phone.prefill > 2 * computer.prefill
    assert computer.decode > 1.2 * phone.decode


def test_mixtures_read_their_active_experts_and_batches_more_of_them() -> None:
    from tests.planner.headers import golden

    anatomy, rates = anatomy_of(golden("mixtral")), device_named("H100 SXM").rates()
    one, many = (
        predict(anatomy, rates, prompt=16, context=64, sequences=count, kv_type="f16").batch for count in (1, 8)
    )
    assert one < many < 8 * one


def test_training_a_seven_billion_model_takes_the_published_memory() -> None:
    """ZeRO's 7.5 billion parameters take 120 GB at 16 bytes each."""
    anatomy = anatomy_of(llama_8b())
    found = train(anatomy, device_named("H100 SXM").rates(), tokens=10**9, sequence=2048)
    assert found.states == 16 * anatomy.parameters
    assert found.flops.factor == 3
    with pytest.raises(InvalidRequest, match="out of range"):
        train(anatomy, device_named("H100 SXM").rates(), tokens=0, sequence=2048)
    with pytest.raises(InvalidRequest, match="LoRA rank"):
        train(anatomy, device_named("H100 SXM").rates(), tokens=1, sequence=8, lora_rank=0)
