"""What others measured on real devices and published, with the settings they gave and what had to be assumed.

Figures are quoted, text is paraphrased. A source gives overheads of methods over a baseline of its own; at most one of
its rows is used to fit a constant, and that row says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pamiq_storm.bench.fidelity.model import LLAMA3_8B, QWEN3_06B, QWEN3_8B, Shape
from pamiq_storm.profile import Profile, load_profile


@dataclass(frozen=True)
class Machine:
    """A shipped profile with some numbers changed, each for a reason."""

    name: str
    profile: str
    changes: Mapping[str, tuple[float, str]] = field(default_factory=dict[str, tuple[float, str]])

    def load(self) -> Profile:
        """The profile as changed."""
        return load_profile(self.profile).replace(**{name: value for name, (value, _) in self.changes.items()})


@dataclass(frozen=True)
class Fit:
    """One constant, chosen so that one step takes as long as published."""

    number: str
    method: str
    seconds: float
    says: str


@dataclass(frozen=True)
class Setting:
    """What was trained, where and how."""

    source: str
    says: str
    machine: Machine
    shape: Shape
    tokens: int
    loss: str
    """`last logit`, `logits` (their mean), or `cross entropy`."""
    optimizer: bool = False
    key_share: int = 1
    """Of a ring of `2 * key_share` devices this is one; see the model."""
    fit: Fit | None = None
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One published overhead."""

    setting: str
    method: str
    baseline: str
    overhead: float
    """As a fraction: of the baseline's step time; or of its throughput, lost."""
    says: str
    of_throughput: bool = False
    fitted: bool = False


A100 = Machine("A100", "a100-pcie")

H100_SXM = Machine(
    "H100 SXM",
    "h100-pcie",
    {
        "half_flops": (989e12, "NVIDIA H100 whitepaper v1.04, column H100 SXM5, dense"),
        "matmul_efficiency": (0.78, "zzc0721/torch-performance-test-data#79: BF16 797.5 at 8192, 719.7 at 10240"),
        "attention_efficiency": (0.38, "as gh200, the same chip"),
        "attention_backward_efficiency": (0.32, "as gh200, the same chip"),
        "memory_bytes_per_s": (3350e9, "NVIDIA H100 whitepaper v1.04, column H100 SXM5"),
    },
)

EIGHT_AT_ONCE = replace(
    H100_SXM,
    name="one of eight H100 SXM",
    changes={
        **H100_SXM.changes,
        "d2h_bytes_per_s": (25.3e9, "assumed: as the other direction"),
        "h2d_bytes_per_s": (
            25.3e9,
            "NVIDIA/cuda-samples#357: eight devices that copy at once get 25.3 to 44.8 GB/s each",
        ),
    },
)

H200 = replace(
    H100_SXM,
    name="H200",
    changes={
        **H100_SXM.changes,
        "memory_bytes": (150_100_000_000, "deepspeedai/DeepSpeed#8282: 139.8 GiB"),
        "memory_bytes_per_s": (4800e9, "NVIDIA H200 data sheet: 4.8 TB/s"),
    },
)

PYTORCH = "https://github.com/pytorch/pytorch/pull/186162"
AXOLOTL = "https://github.com/axolotl-ai-cloud/axolotl/pull/3776"
DEEPSPEED = "https://github.com/deepspeedai/DeepSpeed/pull/8287"
ACCELERATE = "https://github.com/huggingface/accelerate/pull/4175"

_AXOLOTL_ASSUMED = (
    "the GPU, which the source does not name: an A100 80GB on PCIe 4.0, by its step times, its 49 GB of memory and the "
    "seconds that 60 GB take over its link; the rate fitted is what an SXM board reaches, not a PCIe board",
    "the defaults of its benchmarks/bench_checkpoint_activation_offload.py: FlashAttention-2, a batch of "
    "1, full gradients, no optimizer, the loss of the last token's logits, the mean of two steps after one",
)

SETTINGS: Mapping[str, Setting] = {
    "axolotl 8k": Setting(
        AXOLOTL,
        "Qwen3-8B, bfloat16, 8192 tokens, transformers' eager code",
        A100,
        QWEN3_8B,
        8192,
        "last logit",
        fit=Fit("matmul_efficiency", "checkpoint", 2.6777, "checkpointing took 2677.7 ms a step"),
        assumed=_AXOLOTL_ASSUMED,
    ),
    "pytorch": Setting(
        PYTORCH,
        "Llama 3 8B on eight H100, 155 tensors offloaded by the ao:: operations in a compiled graph",
        EIGHT_AT_ONCE,
        LLAMA3_8B,
        8192,
        "cross entropy",
        fit=Fit("matmul_efficiency", "none", 8192 / 7903, "7,903 tokens per second, which both rows imply"),
        assumed=(
            "torchtitan's usual 8192 tokens and batch of 1 per device",
            "155 tensors are five in each of 31 layers: the graph trainer's pass skips the last layer. "
            "Taken to be block input, queries, values, attention's result and gate: 14.0 GB",
            "the pass waits for copies one layer late and fetches one layer early (its defaults)",
            "eight devices copy at once and share the host's memory; the step goes at the pace of the slowest",
            "FSDP's own communication is hidden behind compute in all arms, and its optimizer step is short",
            "without the pool each step page-locks anew, as the source says (about 3 ms a tensor)",
        ),
    ),
    "DeepSpeed": Setting(
        DEEPSPEED,
        "Qwen3-8B on one H200, full-parameter fine-tuning, 32k tokens (measured in pull request 8282)",
        H200,
        QWEN3_8B,
        32768,
        "cross entropy",
        optimizer=True,
        assumed=(
            "transformers' eager code; the optimizer is a fused AdamW with states in bfloat16",
            "PCIe 5.0 x16 at the rates of h100-pcie",
        ),
    ),
    "accelerate 32k": Setting(
        ACCELERATE,
        "24 wrapped layers, boundary inputs of 1.61 GB, one H100 80GB",
        H100_SXM,
        replace(QWEN3_06B, layers=24),
        32768,
        "logits",
        assumed=(
            "Qwen3-0.6B's shape with 24 layers on one sequence of 32768: 1.61 GB of boundary inputs, with 9.96 GB of "
            "logits and 2.13 GB of parameters the 13.7 GB the source has after forward with checkpointing",
            "transformers' eager code",
        ),
    ),
    "accelerate 1M": Setting(
        ACCELERATE,
        "Qwen3-0.6B, 1,048,576 tokens over eight H100 by context parallelism, 131,072 on each",
        EIGHT_AT_ONCE,
        QWEN3_06B,
        131072,
        "logits",
        key_share=4,
        assumed=(
            "each device computes an eighth of the causal attention; the ring's communication is hidden behind it",
            "transformers' eager code",
            "eight devices copy at once and share the host's memory",
        ),
    ),
}

ROWS: tuple[Row, ...] = (
    Row(
        "axolotl 8k",
        "checkpoint, inputs moved",
        "checkpoint",
        2665.9 / 2677.7 - 1,
        "checkpoint_hs: 2665.9 ms for 2677.7",
    ),
    Row(
        "axolotl 8k",
        "checkpoint, inputs moved, host waits",
        "checkpoint",
        2836.9 / 2677.7 - 1,
        "alst: 2836.9 ms for 2677.7",
    ),
    Row("axolotl 8k", "TRL on checkpoint", "checkpoint", 2758.3 / 2677.7 - 1, "trl_gc: 2758.3 ms for 2677.7"),
    Row("axolotl 8k", "TRL", "checkpoint", 4956.2 / 2677.7 - 1, "trl_all: 4956.2 ms for 2677.7"),
    Row("pytorch", "five tensors a layer moved, pool", "none", 0.220, "6,163 tokens per second", of_throughput=True),
    Row("pytorch", "five tensors a layer moved, no pool", "none", 0.496, "3,984 tokens per second", of_throughput=True),
    Row(
        "DeepSpeed",
        "checkpoint, inputs moved but the last",
        "checkpoint",
        0.02,
        "within about 2 % of the step without offload",
    ),
    Row("accelerate 32k", "checkpoint", "none", 1.38 / 1.08 - 1, "1.38 s for 1.08"),
    Row("accelerate 32k", "checkpoint, save_on_cpu, first step", "checkpoint", 1.86 / 1.38 - 1, "1.86 s for 1.38"),
    Row("accelerate 1M", "checkpoint, save_on_cpu", "checkpoint", 0.006, "+0.6 %"),
)
