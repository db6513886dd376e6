"""What takes long: many calls under faults, many forks under load, many exits. `make soak` runs all.

Each is a program (`python -m soak.calls --calls 1000000`) and, smaller, an ordinary test.
"""
