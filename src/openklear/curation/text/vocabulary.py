"""Words that several rules mind."""

NUMBERS = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million half twice double triple "
    "thrice third quarter"
)
"""Numbers in words, with blanks between. Not "one", which is mostly no number: "one of them", "one apple"."""
