"""The weighted rule: a benchmark item in a row, boilerplate weighed away.

Three looks, each at a whole batch of prompts at a time:

1. Rows with all of an item's words in order, whatever the case and punctuation (equal normalised prompts among them).
2. Items too short for runs of words: short.py. 3. The others: runs of four words that row and item share name
candidates (candidates.py). A row's candidates are ordered
   by the worth (index.py) of the runs that they share, relative to what the item has; the best few are aligned
   (align.py) and weighed (verify.py).

The work a row causes is bounded: a run that many items hold names no candidate, and only a few candidates are aligned,
each in time proportional to the item. How the rule was tuned and what it finds: benchmarks/decontamination.py.
"""

from openklear.curation.contamination.weighted.rule import WeightedRule

__all__ = ["WeightedRule"]
