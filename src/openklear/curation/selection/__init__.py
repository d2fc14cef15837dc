"""Which demonstrations are taken where there are more than are wanted."""
