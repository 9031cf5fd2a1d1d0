"""A workspace as commit 4a4d429 left it, with what it made, and the test that today's code goes on with it.

`4a4d429.tar.xz` was made with that commit's code and the libraries of the lock: `dvc repro` of a tiny recipe and a tiny
index, which left version 1 as champion and a live release; a commit; then the recipe's epochs were raised, and the
training was killed with its driver between two checkpoints (`kill -9` of the group). Code is in its git only.
"""
