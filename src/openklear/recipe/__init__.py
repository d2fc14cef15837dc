"""The recipe: one TOML file for a whole run. `schema` holds the keys, `load` reads files, `show` prints them."""
