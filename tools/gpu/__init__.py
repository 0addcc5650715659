"""`make gpu`: builds, tests and measures on a machine with a GPU, and holds what it measured against the simulator.

`steps` says what is run, `runner` runs it within its time and remembers what passed, `report` writes what was found.
Only the standard library is imported here: what else is needed is the first step's work to bring.
"""
