"""Rows that hold a benchmark item: two rules over the same interface, and the lines of the audit table.

`NgramRule` is the report's; `WeightedRule` weighs words by how common the runs are that they stand in, looks at how
much of an item a row holds, and minds numbers. Both are built from items, pickle, and answer for a batch of prompts
with a match or nothing for each.
"""

from openklear.curation.contamination.items import Item, Match, audit_row
from openklear.curation.contamination.ngram import NgramRule
from openklear.curation.contamination.weighted import WeightedRule

__all__ = ["Item", "Match", "NgramRule", "WeightedRule", "audit_row"]
