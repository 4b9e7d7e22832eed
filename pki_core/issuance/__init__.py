"""The act of signing: profiles as data, lints with codes, prepare then sign."""
