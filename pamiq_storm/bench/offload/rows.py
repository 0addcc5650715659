"""From samples to the rows of the table: medians, ratios, the bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pamiq_storm.bench.measure import percentile
from pamiq_storm.bench.offload.samples import AS_IS, Sample
from pamiq_storm.bench.offload.steps import Step
from pamiq_storm.results import ArmRow

PLAIN = "none"


def rows(samples: Sequence[Sample], variant: str = AS_IS) -> list[ArmRow]:
    """One row for each sample of a variant, in their order."""
    chosen = [sample for sample in samples if sample.variant == variant]
    plain = {(s.workload, s.profile): s for s in chosen if s.arm == PLAIN}
    return [_row(sample, plain.get((sample.workload, sample.profile))) for sample in chosen]


def _row(sample: Sample, plain: Sample | None) -> ArmRow:
    row = ArmRow(workload=sample.workload, profile=sample.profile, arm=sample.arm, note=sample.note, fits=sample.fits)
    if not sample.steps:
        return row
    step, times = middle(sample.steps), [s.step_ms for s in sample.steps]
    row = replace(
        row,
        step_ms=step.step_ms,
        step_ms_p10=percentile(times, 10),
        step_ms_p90=percentile(times, 90),
        forward_ms=step.forward_ms,
        backward_ms=step.backward_ms,
        optimizer_ms=step.optimizer_ms,
        peak_allocated_bytes=step.peak_allocated_bytes,
        peak_reserved_bytes=step.peak_reserved_bytes,
        d2h_bytes=step.traffic.d2h,
        h2d_bytes=step.traffic.h2d,
        pinned_bytes=step.peak_pinned_bytes,
        races=step.races,
    )
    if plain is None or not plain.steps or sample.link is None:
        return row
    before = middle(plain.steps)
    bound_ms = step.bound_ms(before, sample.link)
    return replace(
        row,
        ratio_to_none=step.step_ms / before.step_ms,
        lower_bound_ms=bound_ms,
        ratio_to_bound=step.step_ms / bound_ms,
        bit_identical=None if sample.arm == PLAIN or sample.digest is None else sample.digest == plain.digest,
    )


def middle(steps: Sequence[Step]) -> Step:
    """Medians of the times, the worst of the rest."""
    races = [step.races for step in steps if step.races is not None]
    return Step(
        step_ms=percentile([s.step_ms for s in steps], 50),
        forward_ms=percentile([s.forward_ms for s in steps], 50),
        backward_ms=percentile([s.backward_ms for s in steps], 50),
        optimizer_ms=percentile([s.optimizer_ms for s in steps], 50),
        traffic=max((s.traffic for s in steps), key=lambda traffic: traffic.d2h + traffic.h2d),
        peak_allocated_bytes=max(s.peak_allocated_bytes for s in steps),
        peak_reserved_bytes=max(s.peak_reserved_bytes for s in steps),
        peak_pinned_bytes=max(s.peak_pinned_bytes for s in steps),
        races=max(races) if races else None,
    )
