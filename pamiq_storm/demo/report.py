"""The demo's findings as facts for the result file and as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from pamiq_storm.bench.checks import Check
from pamiq_storm.bench.compare import Comparison
from pamiq_storm.bench.console import table
from pamiq_storm.bench.measure import percentile
from pamiq_storm.bench.saved import SavedBytes
from pamiq_storm.demo.live import Live
from pamiq_storm.demo.sizes import DemoSizes
from pamiq_storm.demo.stages import Identity, Setting, Training
from pamiq_storm.results import OffloadRow
from pamiq_storm.units import format_bytes

LEGEND = (
    "step: forward and backward, median, without the optimizer; bound: max(C_f, X/B_d) + max(C_b, X/B_h) with the\n"
    "compute times of 'none', the bytes X the arm moved and the link's rates; peaks hold parameters, gradients and\n"
    "the optimizer's state; late: tensors that backward asked for before they were on their way, at worst in one step."
)


@dataclass(frozen=True)
class Findings:
    """All that the demo found out."""

    setting: Setting
    saved: SavedBytes
    plain: Training
    storm: Training
    identity: Identity
    comparison: Comparison
    live: Live

    def row(self, arm: str) -> OffloadRow:
        return next(row for row in self.comparison.rows if row.arm == arm)

    @property
    def compute_ms(self) -> float:
        return self.comparison.forward_ms + self.comparison.backward_ms

    @property
    def one_way_ms(self) -> float:
        """Time to move all activations in the slower direction."""
        link = self.setting.hardware.link()
        return self.saved.activations / min(link.d2h, link.h2d) * 1e3


def correctness(findings: Findings) -> list[Check]:
    """What must be so on any machine."""
    identity = findings.identity
    full, trains = findings.plain.error is not None, findings.storm.error is None
    wrong = [row.arm for row in findings.comparison.rows if row.bit_identical is False]
    return [
        Check("out of memory without STORM", float(full), 1, full),
        Check("no out of memory with STORM", float(trains), 1, trains),
        _loss_falls("loss of the last quarter below the first", findings.storm.losses),
        Check("losses and gradients that differ", len(identity.different), 0, not identity.different),
        Check("bytes moved while they were compared", identity.fetched_bytes, 1, identity.fetched_bytes > 0),
        Check("arms whose gradients differ at full size", len(wrong), 0, not wrong),
        *live_correctness(findings.live, findings.setting.sizes.memory_limit_bytes),
    ]


def live_correctness(live: Live, limit_bytes: int) -> list[Check]:
    """What must be so where training and inference run beside each other."""
    back = sum(later < earlier for earlier, later in pairwise(live.served))
    served, trains = len(set(live.served)), live.error is None
    wrong, peak = live.unknown + live.misdated, live.peak_allocated_bytes
    return [
        Check("live: no out of memory", float(trains), 1, trains),
        _loss_falls("live: loss of the last quarter below the first", live.losses),
        Check("live: versions served >=", served, 2, served >= 2),
        Check("live: times the version went back", back, 0, back == 0),
        Check("live: torn or misdated versions", wrong, 0, wrong == 0),
        Check("live: peak device memory within the limit", peak, limit_bytes, peak <= limit_bytes),
    ]


def _loss_falls(name: str, losses: Sequence[float]) -> Check:
    quarter = max(len(losses) // 4, 1)
    first, last = sum(losses[:quarter]) / quarter, sum(losses[-quarter:]) / quarter
    return Check(name, last, first, last < first)


def targets(findings: Findings) -> list[Check]:
    """What the demo is meant to show; depends on the machine."""
    none, storm = findings.row("none"), findings.row("storm")
    share = findings.saved.activations / none.peak_allocated_bytes
    moving = findings.one_way_ms / findings.compute_ms
    peak = storm.peak_allocated_bytes / none.peak_allocated_bytes
    bound = storm.step_ms / storm.lower_bound_ms
    return [
        Check("activations / no offload's peak >=", share, 0.70, share >= 0.70),
        Check("moving all activations one way / compute time >=", moving, 0.50, moving >= 0.50),
        Check("STORM's peak / no offload's peak <=", peak, 0.60, peak <= 0.60),
        Check("STORM's step / lower bound of its bytes <=", bound, 1.15, bound <= 1.15),
    ]


def facts(findings: Findings) -> dict[str, Any]:
    """What the rows of the result file cannot hold."""
    setting, comparison = findings.setting, findings.comparison
    link = setting.hardware.link()
    return {
        "seed": setting.seed,
        "sizes": asdict(setting.sizes),
        "text": {"bytes": len(setting.text.data), "files": setting.text.files},
        "link_bytes_per_s": {"d2h": link.d2h, "h2d": link.h2d},
        "memory_limit_bytes": setting.sizes.memory_limit_bytes,
        "without_storm": _training(findings.plain),
        "with_storm": _training(findings.storm),
        "identity": {**asdict(findings.identity), "different": list(findings.identity.different)},
        "activation_bytes": findings.saved.activations,
        "packed_bytes": findings.saved.packed,
        "one_way_ms": findings.one_way_ms,
        "forward_ms": comparison.forward_ms,
        "backward_ms": comparison.backward_ms,
        "optimizer_ms": comparison.optimizer_ms,
        "memory_lines": [
            {**asdict(line), "time_ms": list(line.time_ms), "allocated_bytes": list(line.allocated_bytes)}
            for line in comparison.lines
        ],
        "live": live_facts(findings.live),
        "correctness": [asdict(check) for check in correctness(findings)],
        "targets": [asdict(check) for check in targets(findings)],
    }


def _training(training: Training) -> dict[str, Any]:
    return {**asdict(training), "losses": list(training.losses)}


def live_facts(live: Live) -> dict[str, Any]:
    """Percentiles of the times, and the rest as it was found."""
    times = {
        "inference_alone_ms": live.alone_ms,
        "inference_beside_training_ms": live.beside_ms,
        "sync_ms": live.sync_ms,
    }
    return {
        **{name: _times(values) for name, values in times.items()},
        "losses": list(live.losses),
        "training_s": live.training_s,
        "error": live.error,
        "versions": live.versions,
        "versions_served": sorted(set(live.served)),
        "torn": live.unknown,
        "misdated": live.misdated,
        "peak_allocated_bytes": live.peak_allocated_bytes,
        "first_line": live.first_line,
        "last_line": live.last_line,
    }


def _times(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"count": len(values), "p50": percentile(values, 50), "p99": percentile(values, 99), "max": max(values)}


def live_lines(live: Live) -> str:
    """Part 5 for people."""
    header = ["", "count", "p50 ms", "p99 ms", "max ms"]
    names = {"inference alone": live.alone_ms, "inference beside training": live.beside_ms, "sync": live.sync_ms}
    cells = [
        [name, f"{t['count']}", f"{t['p50']:.1f}", f"{t['p99']:.1f}", f"{t['max']:.1f}"]
        for name, t in ((name, _times(values)) for name, values in names.items())
        if t is not None
    ]
    curve = [f"{loss:.2f}" for loss in live.losses[:: max(len(live.losses) // 8, 1)]]
    return "\n".join(
        [
            table(header, cells),
            live.error or f"{len(live.losses)} steps in {live.training_s:.0f} s, loss {' '.join(curve)}",
            f"versions: {live.versions} published, {len(set(live.served))} served, {live.unknown} torn; "
            f"peak {format_bytes(live.peak_allocated_bytes)}",
            f"first version: {live.first_line}",
            f"last version:  {live.last_line}",
        ]
    )


def live_headline(setting: Setting) -> str:
    sizes = setting.sizes.live
    return f"one thread trains with STORM (batch {sizes.batch}), another writes {sizes.hz:g} bytes a second"


def headline(setting: Setting, saved: SavedBytes) -> str:
    """What is trained, on what."""
    sizes = setting.sizes
    return (
        f"Byte-level GPT ({sizes.model.layers} blocks, width {sizes.model.width}, context {sizes.model.context}), "
        f"batch {sizes.batch}, AdamW, fp32, on {len(setting.text.data) / 1e6:.1f} MB of Python's own standard library "
        f"({setting.text.files} files).\nActivations {format_bytes(saved.activations)}, device memory "
        f"{format_bytes(sizes.memory_limit_bytes)}."
    )


def link_line(setting: Setting) -> str:
    """How fast the link is, and why."""
    link = setting.hardware.link()
    why = "set from the measured compute time" if setting.hardware.simulated else "measured with pinned memory"
    return f"link {link.d2h / 1e9:.2f} GB/s out, {link.h2d / 1e9:.2f} GB/s back ({why})"


def sizes_line(sizes: DemoSizes) -> str:
    steps = f"{sizes.identity_steps} AdamW steps"
    return f"loss and all gradients with and without STORM, batch {sizes.identity_batch}, {steps}"


def arms_table(comparison: Comparison) -> str:
    """The comparison, one line per arm."""
    header = [
        "arm", "step ms", "p10-p90", "/none", "bound ms", "/bound", "peak", "reserved", "out", "back", "pinned", "late",
        "same bits",
    ]  # fmt: skip
    plain = comparison.rows[0]
    return table(header, [_cells(row, plain) for row in comparison.rows])


def _cells(row: OffloadRow, plain: OffloadRow) -> list[str]:
    return [
        row.arm,
        f"{row.step_ms:.0f}",
        f"{row.step_ms_p10:.0f}-{row.step_ms_p90:.0f}",
        f"{row.step_ms / plain.step_ms:.2f}",
        f"{row.lower_bound_ms:.0f}",
        f"{row.step_ms / row.lower_bound_ms:.2f}",
        format_bytes(row.peak_allocated_bytes),
        format_bytes(row.peak_reserved_bytes),
        format_bytes(row.d2h_bytes),
        format_bytes(row.h2d_bytes),
        format_bytes(row.pinned_bytes),
        "-" if row.late_fetches is None else str(row.late_fetches),
        {None: "-", True: "yes", False: "NO"}[row.bit_identical],
    ]
