"""Tables of runs: what has to run for each row, what has run, and the figure beside the published one."""
