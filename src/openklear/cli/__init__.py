"""The command `openklear`: one file a command, imported light."""
