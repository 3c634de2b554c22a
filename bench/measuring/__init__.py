"""What runs in the processes that are measured: the clock, and what it must know of machine and memory."""
