from pipelines.chunk.chunk import run
from pipelines.stage import stage_main

if __name__ == "__main__":
    stage_main("chunk", run, kind="index")
