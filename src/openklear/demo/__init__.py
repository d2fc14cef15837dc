"""The demonstration's own world: arithmetic chains and small programs, written as ordinary files."""
