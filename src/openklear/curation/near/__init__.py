"""Near copies of prompts: MinHash and locality-sensitive hashing find candidates (Broder 1997; Indyk and Motwani 1998),
the exact Jaccard similarity of their word 3-grams decides, and of each copy the row that came first stays.

`signed` makes the signatures, lazily, wherever Daft runs; `near_duplicates` decides from them, here.
"""

from openklear.curation.near.buckets import banding, recall, signed
from openklear.curation.near.copies import near_duplicates

__all__ = ["banding", "near_duplicates", "recall", "signed"]
