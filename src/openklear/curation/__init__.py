"""From rows to clean training sets: steps on tables, each drop with its reason."""
