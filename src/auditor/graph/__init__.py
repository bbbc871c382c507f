"""The span graph as columns, and the two graphs that people look at."""
