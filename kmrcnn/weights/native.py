"""Our own names: a file that holds them needs neither renaming nor rearranging."""

from __future__ import annotations

from kmrcnn.weights.name_map import Rule, Source

NATIVE = Source(
    name="native",
    rules=(Rule("{name}", "{name}"),),
    signature=("backbone/stem/kernel",),
    input_axis=2,
)
