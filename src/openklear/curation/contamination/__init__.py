"""Rows that hold a benchmark item: two rules with the same interface.

`NgramRule` is the report's. `WeightedRule` (weighted/) weighs words by how common the runs are that they stand in, asks
how much of an item a row holds, and treats another number as another problem. Both are built from items, can be
pickled, and answer for each prompt of a batch with a match or None.
"""

from openklear.curation.contamination.items import BenchmarkItem, Match
from openklear.curation.contamination.ngram import NgramRule
from openklear.curation.contamination.weighted import WeightedRule

__all__ = ["BenchmarkItem", "Match", "NgramRule", "WeightedRule"]
