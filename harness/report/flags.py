"""Quality flags in words: what a flag on a run means for whoever reads the figure."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "load_high": "other processes used the CPU while it was measured",
    "governor_not_performance": "the frequency governor was not `performance`, so the clock may have varied",
    "governor_unknown": "the CPU frequency governor could not be read",
    "frequency_unknown": "the CPU frequency could not be read",
    "steal": "the hypervisor took CPU time away",
    "temperature_unknown": "the temperature could not be read, so throttling cannot be ruled out",
    "governor_unexpected": "the frequency governor was not the one that the devices file expects",
    "throttled": "the device lowered its clock because it was hot",
    "clock_not_locked": "the GPU chose its own clock, which may have varied (`--clock`)",
    "clock_not_held": "the GPU did not run at the clock it was locked at",
    "power_capped": "the GPU lowered its clock to stay within its power limit",
    "device_shared": "other processes were using the GPU before or after",
    "hot_at_start": "the device was still warmer than asked for when it began",
    "charging": "the device was charging, which heats it",
    "not_pinned": "the process was not pinned to CPUs and could migrate",
    "not_steady": "durations were not steady when the cap on warm-up was reached",
    "not_cold": "the file came partly from the page cache, so the start was not cold",
    "out_of_range": "more than 0.1 % of the activations lay beyond the range that calibration had seen",
    "calibrated_on_noise": "ranges were found on random inputs, since the file brings none of its own",
    "not_from_flash": "less than 0.99 of the bytes asked of flash came from the device",
    "energy_sampled": "energy was integrated from power that was read now and then, not counted",
    "energy_external": "energy is that of an external meter, whose clock was believed",
    "energy_estimated": "energy is what the processor's own model of its activity says, not a measurement",
    "fewer_samples": "time ran out before enough iterations were measured",
}


def sentence(flag: str) -> str:
    """What `flag` means; a flag of another version is shown as it is."""
    return SENTENCES.get(flag, flag)
