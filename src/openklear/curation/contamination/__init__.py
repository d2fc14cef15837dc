"""Rows that hold a benchmark item: two rules with the same interface.

`NgramRule` is the report's; `WeightedRule` (weighted/) weighs words by how common the runs are that they stand in,
looks at how much of an item a row holds, and minds numbers. Both are built from items, pickle, and answer for a batch
of prompts with a match or nothing for each.
"""

from openklear.curation.contamination.items import BenchmarkItem, Match
from openklear.curation.contamination.ngram import NgramRule
from openklear.curation.contamination.weighted import WeightedRule

__all__ = ["BenchmarkItem", "Match", "NgramRule", "WeightedRule"]
