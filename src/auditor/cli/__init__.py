"""The command line: flags in, text and a number out. One file per command; the default one is ``audit``."""
