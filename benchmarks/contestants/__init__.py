"""The contestants: each module is a worker process; those of peers import nothing of aha."""
