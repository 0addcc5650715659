"""The suites by name. A new suite adds a line here and its row type in `pamiq_storm.results`."""

from __future__ import annotations

from collections.abc import Callable

from pamiq_storm.bench import fidelity, hooks, offload, publish
from pamiq_storm.bench.console import Console
from pamiq_storm.results import Results

Suite = Callable[[str, bool, Console], Results]
"""Takes the device's name (`auto`, `cuda`, `sim`), whether to be quick, and where to speak."""

SUITES: dict[str, Suite] = {
    "fidelity": fidelity.run,
    "hooks": hooks.run,
    "offload": offload.run,
    "publish": publish.run,
}
