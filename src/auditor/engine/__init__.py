"""Where columns are kept and who works on them: files on disk, processes, clusters. The answer is the same in all."""
