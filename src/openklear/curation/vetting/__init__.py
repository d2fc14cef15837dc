"""Steps that ask the verifiers, or read what they said."""
