"""Readers of device state, on text and files as real boards give them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge_bts.benchmarks.device import Device, Sampler, describe_device
from edge_bts.benchmarks.jetson import (
    TegrastatsReader,
    clocks_are_locked,
    parse_tegrastats,
    rails_mw,
    total_mw,
)
from edge_bts.benchmarks.nvidia import parse_smi

# Orin Nano, JetPack 6.
ORIN_NANO = (
    "10-08-2026 04:35:02 RAM 6712/7620MB (lfb 12x4MB) SWAP 369/3810MB (cached 8MB) "
    "CPU [38%@1497,2%@729,1%@729,off,1%@729,0%@729] EMC_FREQ 61%@2133 GR3D_FREQ 99%@[612] "
    "NVDEC off NVJPG off VIC off OFA off APE 200 cpu@57.125C soc2@55.093C soc0@56.625C "
    "gpu@58.437C tj@58.437C soc1@56.25C VDD_IN 9251mW/8535mW VDD_CPU_GPU_CV 3512mW/1944mW "
    "VDD_SOC 2720mW/3659mW"
)
# AGX Orin, JetPack 5: sensors without power, inputs that are not connected.
AGX_ORIN = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) "
    "CPU [0%@729,0%@729] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 CV0@-256C "
    "CPU@44.562C Tboard@32C SOC2@40.093C GPU@-256C tj@44.343C VDD_GPU_SOC 2340mW/2340mW "
    "VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW NC 0mW/0mW VDDQ_VDD2_1V8AO 301mW/301mW "
    "NC 0mW/0mW"
)
# JetPack 7: now and mean of temperatures, three figures a rail, no clock without root.
JETPACK_7 = (
    "08-12-2026 15:28:04 RAM 2390/7486MB (lfb 4x4MB) CPU [6%@729,13%@883] GR3D_FREQ 0% "
    "cpu@45.687C/45.687C gpu@46.843C/46.843C tj@46.843C/46.843C VDD_IN 3848mW/3848mW/3848mW "
    "VDD_CPU_GPU_CV 606mW/606mW/606mW VDD_SOC 1174mW/1174mW/1174mW"
)
# Thor: clocks of three clusters without a load. Nano: no brackets, bare milliwatts.
THOR = "RAM 9000/125772MB CPU [1%@972] GR3D_FREQ @[1575,1575,1575] cpu@41.3C VDD_GPU 3000mW/2900mW"
NANO = (
    "RAM 2162/3964MB CPU [25%@1479,off,off,5%@1479] EMC_FREQ 7%@1600 GR3D_FREQ 3%@76 "
    "POM_5V_IN 4286/4250"
)


def test_tegrastats_of_jetpack_6() -> None:
    """Loads, clocks, temperatures and the rails as of now; a core that is off is absent."""
    found = parse_tegrastats(ORIN_NANO)
    assert found.ram_mb == 6712
    assert found.cpu_load == [38, 2, 1, 1, 0]
    assert found.cpu_mhz[0] == 1497
    assert (found.gpu_load, found.gpu_mhz, found.emc_mhz) == (99, 612, 2133)
    assert found.temperatures_c["tj"] == 58.437
    assert found.rails_mw == {"VDD_IN": 9251, "VDD_CPU_GPU_CV": 3512, "VDD_SOC": 2720}


def test_sensors_without_power_are_absent() -> None:
    """-256 degrees are no temperature, unconnected inputs no rails, a GPU at rest has 0 MHz."""
    found = parse_tegrastats(AGX_ORIN)
    assert found.temperatures_c == {"CPU": 44.562, "Tboard": 32.0, "SOC2": 40.093, "tj": 44.343}
    assert set(found.rails_mw) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}
    assert found.gpu_mhz == 0


def test_other_boards_and_releases() -> None:
    """JetPack 7, Thor and the first Nano write some fields otherwise; what is missing is None."""
    seven = parse_tegrastats(JETPACK_7)
    assert (seven.gpu_load, seven.gpu_mhz, seven.emc_mhz) == (0, None, None)
    assert seven.temperatures_c["gpu"] == 46.843
    assert seven.rails_mw == {"VDD_IN": 3848, "VDD_CPU_GPU_CV": 606, "VDD_SOC": 1174}
    thor = parse_tegrastats(THOR)
    assert (thor.gpu_load, thor.gpu_mhz) == (None, 1575)
    nano = parse_tegrastats(NANO)
    assert (nano.gpu_load, nano.gpu_mhz, nano.emc_mhz) == (3, 76, 1600)
    assert nano.rails_mw == {"POM_5V_IN": 4286}
    assert parse_tegrastats("").model_dump() == parse_tegrastats("no such line").model_dump()


def test_a_running_tegrastats_is_read_without_waiting(tmp_path: Path) -> None:
    """The newest whole line counts; before the first nothing is known."""
    script = tmp_path / "tegrastats"
    script.write_text(
        f"#!/bin/sh\nsleep 0.2\necho '{ORIN_NANO}'\necho '{AGX_ORIN}'\nexec sleep 60\n"
    )
    script.chmod(0o755)
    reader = TegrastatsReader(str(script))
    try:
        assert reader.newest().ram_mb is None
        for _ in range(500):
            if reader.newest().ram_mb is not None:
                break
            time.sleep(0.01)
        assert reader.newest().ram_mb == 4321
    finally:
        reader.close()


def test_locked_clocks() -> None:
    """`jetson_clocks` has locked what cannot move; without its text nothing is known."""
    free = (
        "SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Developer Kit\nOnline CPUs: 0-5\n"
        "cpu0:  Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1510400 CurrentFreq=960000 \n"
        "GPU MinFreq=306000000 MaxFreq=624750000 CurrentFreq=306000000\nActive GPU TPCs: 4\n"
    )
    locked = (
        "cpu0:  Governor=schedutil MinFreq=2201600 MaxFreq=2201600 CurrentFreq=2201600 \n"
        "GPU MinFreq=1020000000 MaxFreq=1020000000 CurrentFreq=1020000000\n"
    )
    assert clocks_are_locked(free) is False
    assert clocks_are_locked(locked) is True
    assert clocks_are_locked("Error: Run this script as a root user\n") is None


# What nvidia-smi of driver 580 printed on an idle H100, and what it prints for want of a field,
# of a card, and of power readings.
SMI = (
    "NVIDIA H100 80GB HBM3, 580.159.04, P0, 345, 2619, 1980, 35, 71.71, 700.00, 0, 0, "
    "0x0000000000000001\n"
)


def test_nvidia_smi() -> None:
    """A card at rest is not throttled; what it does not tell is None, and errors are no cards."""
    (card,) = parse_smi(SMI)
    assert card.name == "NVIDIA H100 80GB HBM3"
    assert (card.sm_mhz, card.temperature_c, card.power_w) == (345, 35, 71.71)
    assert card.throttling == ()
    (dumb,) = parse_smi(
        "Thor, 580.00, [N/A], 1575, [N/A], [N/A], 41, [N/A], [N/A], 3, [N/A], [N/A]"
    )
    assert (dumb.memory_mhz, dumb.power_w, dumb.state, dumb.throttling) == (None, None, None, ())
    (hot,) = parse_smi(SMI.replace("0x0000000000000001", "0x0000000000000064"))
    assert hot.throttling == ("power cap", "heat (software)", "heat (hardware)")
    assert parse_smi("No devices were found\n") == []
    assert parse_smi('Field "nosuch" is not a valid field to query.\n\n') == []


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files of one value below a folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    """An AGX Orin: two INA3221, an input that is not connected, a sum, a dead sensor."""
    chip = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon5"
    other = "sys/bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon6"
    cpu = "sys/devices/system/cpu"
    return write(
        tmp_path,
        {
            **{f"{chip}/in1_label": "VDD_GPU_SOC", f"{chip}/in1_input": "4900"},
            **{f"{chip}/curr1_input": "2000", f"{chip}/in2_label": "VDD_CPU_CV"},
            **{f"{chip}/in2_input": "4900", f"{chip}/curr2_input": "1000"},
            **{f"{chip}/in3_label": "NC", f"{chip}/in3_input": "5000"},
            **{f"{chip}/curr3_input": "9999", f"{chip}/in7_label": "sum of shunt voltages"},
            **{f"{chip}/in7_input": "1200", f"{other}/in2_label": "VDDQ_VDD2_1V8AO"},
            **{f"{other}/in2_input": "1800", f"{other}/curr2_input": "500"},
            "sys/class/thermal/thermal_zone0/temp": "52500",
            "sys/class/thermal/thermal_zone1/temp": "-256000",
            "sys/class/thermal/thermal_zone2/temp": "",
            "sys/class/devfreq/17000000.gpu/cur_freq": "1300500000",
            "sys/class/devfreq/13e00000.mmc/cur_freq": "9900000000",
            "sys/class/hwmon/hwmon3/oc1_event_cnt": "1",
            "sys/class/hwmon/hwmon3/oc3_event_cnt": "2",
            f"{cpu}/cpu0/cpufreq/scaling_cur_freq": "729600",
            f"{cpu}/cpu1/cpufreq/scaling_cur_freq": "2201600",
            f"{cpu}/cpu0/cpufreq/scaling_governor": "schedutil",
            f"{cpu}/cpu0/cpufreq/scaling_min_freq": "729600",
            f"{cpu}/cpu0/cpufreq/scaling_max_freq": "2201600",
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.4, GCID: 41062509",
        },
    )


def test_rails_of_the_board(orin: Path) -> None:
    """Millivolts by milliamperes; a board without a rail for all says what the sum leaves out."""
    rails = rails_mw(orin)
    assert rails == {"VDD_GPU_SOC": 9800.0, "VDD_CPU_CV": 4900.0, "VDDQ_VDD2_1V8AO": 900.0}
    total = total_mw(rails)
    assert total is not None
    assert total[0] == 15600.0
    assert "without the carrier board" in total[1]
    assert total_mw({"VDD_IN": 4800.0, "VDD_SOC": 900.0}) == (4800.0, "rail VDD_IN: the module")
    assert total_mw({}) is None


def test_state_of_a_board(orin: Path) -> None:
    """The fastest core, the GPU, the hottest live sensor, power and counted slow-downs."""
    sampler = Sampler(orin)
    sampler.sample("row")
    (state,) = sampler.states
    assert (state.cpu_mhz, state.gpu_mhz, state.temperature_c) == (2201.6, 1300.5, 52.5)
    assert (state.power_w, state.throttled, state.mode) == (15.6, 3, "schedutil")
    assert sampler.pause_s < 1  # power that nothing counts is caught often
    assert sampler.spent(None, 0, 2.0) == pytest.approx(31.2)
    device = describe_device(orin)
    assert (device.l4t, device.governor, device.clocks_locked) == ("36.4.4", "schedutil", False)
    assert device.power is not None
    assert device.power.startswith("INA3221")


def test_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    """A machine that shows nothing has no clocks, heat, power or energy: None, and never zero."""
    sampler = Sampler(tmp_path)
    sampler.sample("row")
    (state,) = sampler.states
    known = state.model_dump(exclude={"at_s", "row", "throttling"})
    assert set(known.values()) == {None}
    assert sampler.joules() is None
    assert sampler.spent(None, 0, 1.0) is None
    assert describe_device(tmp_path) == Device()


def test_energy_counter_that_runs_over(tmp_path: Path) -> None:
    """Packages are summed, their parts are not; a counter that began again is no loss."""
    base = "sys/class/powercap/intel-rapl:0"
    write(
        tmp_path,
        {
            f"{base}/energy_uj": "99000000",
            f"{base}/max_energy_range_uj": "100000000",
            "sys/class/powercap/intel-rapl:0:0/energy_uj": "5000000",
        },
    )
    sampler = Sampler(tmp_path)
    before = sampler.joules()
    assert before == 99.0
    write(tmp_path, {f"{base}/energy_uj": "99500000"})
    assert sampler.spent(before, 0, 1.0) == pytest.approx(0.5)
    write(tmp_path, {f"{base}/energy_uj": "2000000"})
    assert sampler.spent(before, 0, 1.0) == pytest.approx(3.0)
    assert describe_device(tmp_path).power == "RAPL: CPU package"


def test_clocks_set_to_one_value_are_locked(tmp_path: Path) -> None:
    """On any machine: least and greatest clock the same."""
    cpu = "sys/devices/system/cpu/cpu0/cpufreq"
    write(tmp_path, {f"{cpu}/scaling_min_freq": "2000000", f"{cpu}/scaling_max_freq": "2000000"})
    assert describe_device(tmp_path).clocks_locked is True
