"""OpenKlear's losses inside other people's trainers. Importing this room loads none of them."""
