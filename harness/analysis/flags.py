"""Quality flags in words: what a flag on a run means for whoever reads the figure, and what to do about it."""

from __future__ import annotations

# What a flag means, and what to do about it.
_MEANINGS: dict[str, tuple[str, str]] = {
    "load_high": (
        "other processes used the CPU while it was measured",
        "close other programs, or wait until they are done",
    ),
    "governor_not_performance": (
        "the frequency governor was not `performance`, so the clock may have varied",
        "`cpupower frequency-set -g performance`, as root",
    ),
    "governor_unknown": (
        "the CPU frequency governor could not be read",
        "usual on a virtual machine: trust ratios more than times",
    ),
    "frequency_unknown": (
        "the CPU frequency could not be read",
        "the interval of more `--processes` shows whether it varied",
    ),
    "steal": (
        "the hypervisor took CPU time away",
        "take a machine of your own, a quieter hour, or more `--processes`",
    ),
    "temperature_unknown": (
        "the temperature could not be read, so throttling cannot be ruled out",
        "`--scenario sustained` shows whether latency rises with time",
    ),
    "governor_unexpected": (
        "the frequency governor was not the one that the devices file expects",
        "set it on the device, or change the file",
    ),
    "throttled": (
        "the device lowered its clock because it was hot",
        "let it cool, give it air, and measure again",
    ),
    "clock_not_locked": (
        "the GPU chose its own clock, which may have varied",
        "`--clock MHZ` holds it, as root",
    ),
    "clock_not_held": (
        "the GPU did not run at the clock it was locked at",
        "give a lower `--clock`",
    ),
    "power_capped": (
        "the GPU lowered its clock to stay within its power limit",
        "give a lower `--clock`",
    ),
    "device_shared": (
        "other processes were using the GPU before or after",
        "`nvidia-smi` lists them: end them, or wait",
    ),
    "hot_at_start": (
        "the device was still warmer than asked for when it began",
        "let it cool, or raise `wait_below_celsius` in the devices file",
    ),
    "charging": (
        "the device was charging, which heats it",
        "unplug it, and reach it over the network",
    ),
    "not_pinned": (
        "the process was not pinned to CPUs and could migrate",
        "`--cpus 0` pins it",
    ),
    "threads_beyond_cpus": (
        "it had more threads than the processors, or the share of them, that it may use, so they had to wait",
        "lower `--threads`, or let it use more (`--cpus`, the container's limit)",
    ),
    "not_steady": (
        "durations were not steady when the cap on warm-up was reached",
        "give a longer `--max-warmup`, or close other programs",
    ),
    "sums_may_clip": (
        "it multiplies uint8 by int8, sums of which may clip on this processor, which has no VNNI",
        "compare its quality, or quantise it with `weight_type=QuantType.QUInt8` or `reduce_range=True`",
    ),
    "outside_delegates": (
        "matrix products or convolutions of it run outside its delegates, in kernels that may be many times slower",
        "`harness models inspect` counts them; export it with a partitioner, such as XNNPACK's",
    ),
    "not_cold": (
        "the file came partly from the page cache, so the start was not cold",
        "close what else reads it, and keep it on a local disk",
    ),
    "out_of_range": (
        "more than 0.1 % of the activations lay beyond the range that calibration had seen",
        "put more, or more typical, windows of text into its `generation.json`",
    ),
    "calibrated_on_noise": (
        "ranges were found on random inputs, since the file brings none of its own",
        "trust its cycles, which do not depend on them, more than its agreement",
    ),
    "not_from_flash": (
        "less than 0.99 of the bytes asked of flash came from the device",
        "keep the file on a local disk, not in memory",
    ),
    "energy_sampled": (
        "energy was computed from power readings at intervals, not counted",
        "a meter counts: `--energy-csv`",
    ),
    "energy_external": (
        "energy is that of an external meter, whose clock was taken as right",
        "set the meter's clock by network time",
    ),
    "energy_estimated": (
        "energy is what the processor's own model of its activity says, not a measurement",
        "a meter measures: `--energy-csv`",
    ),
    "fewer_samples": (
        "time ran out before enough iterations were measured",
        "give a longer `--max-duration`",
    ),
}


def sentence(flag: str) -> str:
    """What `flag` means, and in brackets what to do; a flag of another version is shown as it is."""
    return f"{meaning(flag)} ({_MEANINGS[flag][1]})" if flag in _MEANINGS else flag


def meaning(flag: str) -> str:
    """What `flag` means alone; a flag of another version is shown as it is."""
    return _MEANINGS[flag][0] if flag in _MEANINGS else flag


def advice(flag: str) -> str | None:
    """What to do about `flag`; None for a flag of another version."""
    return _MEANINGS[flag][1] if flag in _MEANINGS else None
