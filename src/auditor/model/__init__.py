"""The nouns that the stages share: no I/O, no formats, no policy."""
