"""Benchmark suites: `python -m pamiq_storm bench SUITE`. One module per suite, registered in `registry`."""
