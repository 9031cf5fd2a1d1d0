from pipelines.evaluate.evaluate import run
from pipelines.stage import stage_main

if __name__ == "__main__":
    stage_main("evaluate", run, kind="recipe")
