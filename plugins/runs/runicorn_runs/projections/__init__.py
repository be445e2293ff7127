"""The read models of runs: which runs there are (`run_list`), and their metric points (`metric_points`)."""
