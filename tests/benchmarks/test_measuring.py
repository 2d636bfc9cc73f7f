"""Alternating rounds, and the machine that they ran on."""

from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.bench import Sizes
from benchmarks.jobs import Ran
from benchmarks.machine import this_machine
from benchmarks.marginal import figures, memory
from benchmarks.measuring import SkippedError, alternating, differences, median_ratio
from benchmarks.scaling import core_figures
from benchmarks.table import Measured

X86 = "model name\t: AMD EPYC 9R14\nflags\t\t: fpu sse4_2 avx2 fma avx512f\n\nmodel name\t: AMD EPYC 9R14\n"
ARM64 = "processor\t: 0\nFeatures\t: fp asimd sve asimddp\n"


def test_sides_take_turns_forwards_and_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MOMENT", 0.0)
    order: list[str] = []

    def side(name: str) -> int:
        order.append(name)
        return len(order)

    found = alternating(3, {"bare": lambda: side("bare"), "job": lambda: side("job")})

    assert order == ["bare", "job", "job", "bare", "bare", "job"]
    assert found == {"bare": [1, 4, 5], "job": [2, 3, 6]}


def test_one_disturbed_round_does_not_decide() -> None:
    assert median_ratio([10, 10, 10], [10, 40, 11]) == pytest.approx(10 / 11)


def test_a_difference_below_the_noise_is_no_figure() -> None:
    with pytest.raises(SkippedError, match="something else was at work"):
        differences([5.0, 4.0, 3.0], [4.0, 4.5, 4.0])


def test_one_round_in_which_less_took_longer_is_outvoted() -> None:
    assert differences([5.0, 5.0, 4.0], [4.0, 4.0, 4.5]) == [1.0, 1.0, -0.5]


@pytest.mark.parametrize(("cpuinfo", "flags"), [(X86, "avx2 fma avx512f"), (ARM64, "asimd asimddp sve")])
def test_the_flags_that_matter_are_named(cpuinfo: str, flags: str) -> None:
    assert this_machine(cpuinfo).flags == flags


def test_the_name_of_the_processor() -> None:
    assert this_machine(X86).cpu == "AMD EPYC 9R14"
    assert this_machine("").cpu  # where Linux does not say


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\n", "AMD EPYC 25/17/1"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd40\nModel\t: Graviton\nCPU revision\t: 1\n", "Graviton 0x41/0xd40/1"),
    ],
)
def test_processors_of_one_name_are_told_apart(cpuinfo: str, name: str) -> None:
    assert this_machine(cpuinfo).cpu == name


def test_what_the_hypervisor_takes_counts_as_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    monkeypatch.setattr(machine, "others", lambda: 0.0)
    machine.STAT.write_text("cpu  100 0 50 800 10 0 0 40 0 0\ncpu0 ...\n")
    conditions = machine.Conditions()
    machine.STAT.write_text("cpu  160 0 50 800 10 0 0 80 0 0\ncpu0 ...\n")

    assert conditions.so_far()["stolen"] == 0.4


def test_what_others_do_between_the_runs_of_a_row_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.0, 0.3, 0.2, 0.4, 0.3, 0.0])
    monkeypatch.setattr(machine, "others", lambda seconds=1.0: next(shares))
    conditions = machine.Conditions()
    alternating(2, {"bare": lambda: 1, "job": lambda: 2})

    found = conditions.so_far()
    assert found["between"] == 0.3
    assert Measured(**found).busy


def test_a_worker_that_was_not_seen_is_no_small_one() -> None:
    assert memory({"few": 178.0, "more": 185.0, "s3 more": 190.0}) == {
        "worker_peak_mb": 185.0,
        "worker_peak_s3_mb": 190.0,
        "worker_growth_mb": 7.0,
    }
    assert memory({"few": 0.0, "more": 0.0, "s3 more": 0.0}) == {}


def ran(start: float, seconds: float) -> list[Ran]:
    """Return one round."""
    return [Ran(start + seconds, seconds, seconds, cpu_seconds=seconds)]


def test_the_start_of_a_job_is_no_part_of_a_further_images_price() -> None:
    """The loop takes 2 s per 1,000 images, the job 2.5 s and 3 s at first; S3 makes the loop 4 s and the job 5 s."""
    sizes = Sizes(
        few=1_000, more=4_000, few_s3=500, more_s3=2_000, engine=3_000, cores=0, latency=0, resume=0, dimensions=0
    )

    found = figures(
        {
            "bare more": ran(0, 10),
            "job few": ran(3, 2.5),
            "job more": ran(3, 12.5),
            "bare s3 more": ran(0, 10),
            "job s3 few": ran(3, 2.5),
            "job s3 more": ran(3, 12.5),
        },
        sizes,
    )

    assert found["marginal_ratio"] == pytest.approx(8 / 10)
    assert found["marginal_cpu_ratio"] == pytest.approx(8 / 10)
    assert found["marginal_s3_ratio"] == pytest.approx(8 / 10)
    assert found["s3_rate"] == pytest.approx((2_000 / 10) / (4_000 / 10))
    assert found["engine_ratio"] == pytest.approx(6 / 7.5)
    assert found["small_run_ratio"] == pytest.approx(5.5 / 2)
    assert (found["bare_rate"], found["rate"]) == pytest.approx((500, 400))


def test_a_second_core_is_compared_with_what_it_adds_to_the_loop() -> None:
    """1,000 images take a core 10 s in the loop and 11 s if the other works too; in the job 10 and 12, and 3 s at first."""
    found = core_figures(
        {
            "bare 1": ran(0, 10),
            "job 1": ran(3, 10),
            "job 1, few": ran(3, 1),
            "bare 2": ran(0, 11),
            "job 2": ran(3, 12),
            "job 2, few": ran(3, 1.2),
        },
        each=1_000,
        few=100,
    )

    assert found["core_bare_ratio"] == pytest.approx(20 / 11)
    assert found["core_job_ratio"] == pytest.approx(20 / 12)
    assert found["core_ratio"] == pytest.approx(11 / 12)
