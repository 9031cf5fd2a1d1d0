from pipelines.publish.publish import run
from pipelines.stage import stage_main

if __name__ == "__main__":
    stage_main("publish", run, kind="index")
