"""Posts a report where a change is discussed. Nothing else of the program uses the network.

A code host is a module beside this one with a class that lists, posts, changes and hides comments; ``comments``
decides which of these is due.
"""
