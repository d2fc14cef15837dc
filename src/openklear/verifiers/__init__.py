"""From a completion to a verdict: format, mathematics, programs. Knows only `types` and `errors`."""
